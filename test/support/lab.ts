/**
 * A lab: network namespaces with names of their own, links between them, and the processes inside.
 *
 * Nothing of it is in the namespace of whoever makes it, and nothing outlives it: a small shell process, the
 * reaper, waits for the end of its standard input - which comes with {@link Lab.remove}, but also when this
 * process is killed - and then ends every process in the lab's namespaces by its pid, deletes the namespaces and
 * the lab's directory. So it does with namespaces that a gateway in the lab has made, which are named after its own.
 *
 * ```
 *  this process ──pipe──► reaper          namespaces hw-PID-XXXXXX-LABEL     directory on tmpfs
 *       └──pipe──► agent (agent/agent.py): sockets in all namespaces
 * ```
 *
 * Used by the tests and by `scripts/demo`. `lab/network.ts` builds sites and a gateway out of it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { Agent } from './lab/agent.ts';

/** One end of a link. */
export interface LinkEnd {
  readonly namespace: string;
  /** At most 15 characters. */
  readonly device: string;
}

export interface CommandResult {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const REAPER = `
cat >/dev/null
pids() {
  { stat -L -c 'N %i' /run/netns/"$1"-*; stat -L -c 'P %i %n' /proc/[0-9]*/ns/net; } 2>/dev/null |
    awk '$1 == "N" { ours[$2] = 1 } $1 == "P" && ($2 in ours) { split($3, path, "/"); print path[3] }'
}
while found=$(pids "$1"); [ -n "$found" ]; do
  kill -9 $found 2>/dev/null
  sleep 0.02
done
for path in /run/netns/"$1"-*; do
  [ -e "$path" ] || continue
  inode=$(stat -L -c %i "$path")
  for of in /run/netns/homeward-"$inode"-* /run/netns/hwd-*-"$inode"; do
    [ -e "$of" ] && echo "netns del \${of##*/}"
  done
  echo "netns del \${path##*/}"
done | ip -force -batch -
rm -rf "$2"
`;

export class Lab {
  /** Every namespace's name begins with this and a hyphen. */
  readonly prefix = `hw-${process.pid}-${randomBytes(3).toString('hex')}`;
  /** For files of the lab; on tmpfs if there is one. */
  readonly directory: string;
  readonly #reaper: ChildProcess;
  readonly #agents: Agent[] = [];
  #removal: Promise<void> | undefined;

  constructor() {
    const shared = '/dev/shm';
    this.directory = mkdtempSync(join(existsSync(shared) ? shared : tmpdir(), 'hw-lab-'));
    // In a session of its own: what is typed at a terminal must not reach it before its work is done.
    this.#reaper = spawn('sh', ['-c', REAPER, 'reaper', this.prefix, this.directory], {
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
    });
  }

  /** Name of the namespace with this label. */
  name(label: string): string {
    return `${this.prefix}-${label}`;
  }

  /** Makes namespaces, with the loopback up and without duplicate address detection. */
  async addNamespaces(labels: readonly string[]): Promise<void> {
    await batch(labels.map((label) => `netns add ${this.name(label)}`));
    await this.agent().sysctl(
      labels.map((label) => this.name(label)),
      {
        'net.ipv6.conf.all.accept_dad': '0',
        'net.ipv6.conf.default.accept_dad': '0',
        'net.ipv6.conf.default.router_solicitations': '0',
        // A host that knows its gateway by its questions only forgets path MTUs at the next collection: at none here.
        'net.ipv6.route.gc_interval': '3600',
        'net.ipv4.tcp_tw_reuse': '1',
        'net.ipv4.icmp_ratelimit': '0',
        'net.ipv6.icmp.ratelimit': '0',
      },
    );
    await Promise.all(labels.map((label) => this.ip(label, ['link set lo up'])));
  }

  /** Makes veth pairs, each end in its namespace from the beginning, both up. */
  async addLinks(pairs: readonly (readonly [LinkEnd, LinkEnd])[]): Promise<void> {
    await batch(
      pairs.map(
        ([a, b]) =>
          `link add ${a.device} netns ${this.name(a.namespace)} type veth peer name ${b.device} netns ${this.name(b.namespace)}`,
      ),
    );
    const byNamespace = new Map<string, string[]>();
    for (const { namespace, device } of pairs.flat()) {
      const lines = byNamespace.get(namespace) ?? [];
      lines.push(`link set ${device} up`);
      byNamespace.set(namespace, lines);
    }
    await Promise.all([...byNamespace].map(([label, lines]) => this.ip(label, lines)));
  }

  /** Several `ip` commands in a namespace, in one process. */
  async ip(label: string, commands: readonly string[]): Promise<void> {
    await batch(commands, ['-n', this.name(label)]);
  }

  /** Runs a command in a namespace to its end, whatever that is. */
  async attempt(label: string, command: string, args: readonly string[] = []): Promise<CommandResult> {
    return collect(this.spawn(label, command, args));
  }

  /** As {@link attempt}, but throws with what the command said if it fails. Resolves to its standard output. */
  async exec(label: string, command: string, args: readonly string[] = []): Promise<string> {
    const { status, stdout, stderr } = await this.attempt(label, command, args);
    if (status === 0) return stdout;
    throw new Error(`${command} ${args.join(' ')} (in ${label}): ${stderr.trim() || `status ${status}`}`);
  }

  /** Starts a process in a namespace; it ends with the lab at the latest. */
  spawn(
    label: string,
    command: string,
    args: readonly string[] = [],
    environment: NodeJS.ProcessEnv = process.env,
  ): ChildProcess {
    return spawn('ip', ['netns', 'exec', this.name(label), command, ...args], {
      detached: true,
      env: environment,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  /** The lab's agents, started when first asked for. Number 1 is for captures, so that they get a processor. */
  agent(number = 0): Agent {
    if (this.#removal) throw new Error('the lab is gone');
    this.#agents[number] ??= new Agent();
    return this.#agents[number];
  }

  /** Ends and removes everything. May be called again. */
  remove(): Promise<void> {
    this.#removal ??= this.#remove();
    return this.#removal;
  }

  async #remove(): Promise<void> {
    await Promise.all(this.#agents.map((agent) => agent?.end()));
    const gone = new Promise((resolve) => this.#reaper.once('exit', resolve));
    this.#reaper.stdin?.end();
    await gone;
  }
}

/** Why no lab can be made here; undefined if one can. */
export function labObstacle(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root';
  if (!existsSync('/dev/net/tun')) return 'needs /dev/net/tun';
  return undefined;
}

async function batch(commands: readonly string[], options: readonly string[] = []): Promise<void> {
  if (commands.length === 0) return;
  const child = spawn('ip', [...options, '-batch', '-'], { stdio: ['pipe', 'pipe', 'pipe'] });
  // Where ip refuses to begin, what it says is told, not that it did not listen.
  child.stdin?.on('error', () => {});
  child.stdin?.end(`${commands.join('\n')}\n`);
  const { status, stderr } = await collect(child);
  if (status !== 0) throw new Error(`ip ${options.join(' ')}: ${stderr.trim() || `status ${status}`}`);
}

async function collect(child: ChildProcess): Promise<CommandResult> {
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  const [stdout, stderr, status] = await Promise.all([text(child.stdout!), text(child.stderr!), ended]);
  return { status, stdout, stderr };
}
