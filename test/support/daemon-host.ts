/**
 * A host for tests of the whole control process: a namespace with an uplink, a line to a site, a configuration
 * and files of its own.
 */
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { ApiClient } from '../../src/api/client.ts';
import { type StatusBody, statusSchema } from '../../src/api/schemas/gateway.ts';
import { NetworkNamespace } from './network-namespace.ts';
import { eventually } from './patience.ts';

const DAEMON_END = join(import.meta.dirname, 'daemon-end.ts');

export const CONFIG = `
version: 1
gateway: { name: gw1 }
sites:
  - name: lyon
    prefixes: [10.0.1.0/24]
    tunnels:
      - { name: lyon-ic, type: interconnect, device: ic0, interface_address: 172.20.0.1/30, next_hop: 172.20.0.2, health: { rate: none } }
      - { name: lyon-gre, type: gre, local: 192.0.2.1, remote: 192.0.2.9 }
  - name: dc
    prefixes: [10.0.2.0/24]
    tunnels:
      - { name: dc-tun, type: device, device: tun-dc, driver: tun }
egress:
  - { name: internet, type: internet, device: up0 }
flow_table: { max_flows: 4096 }
`;

export class DaemonHost {
  readonly directory = mkdtempSync(join(tmpdir(), 'homeward-test-'));
  readonly namespace = new NetworkNamespace();
  readonly runtimeDirectory = join(this.directory, 'run');
  readonly configPath = join(this.directory, 'homeward.yaml');
  readonly environment = {
    ...process.env,
    HOMEWARD_RUNTIME_DIR: this.runtimeDirectory,
    HOMEWARD_STATE_DIR: join(this.directory, 'state'),
  };
  readonly api = new ApiClient(join(this.runtimeDirectory, 'api.sock'), 5000);

  #far: NetworkNamespace | undefined;
  #daemon: { readonly process: ChildProcessWithoutNullStreams; output(): string } | undefined;

  /** Removed again when the test ends, however it ends. */
  constructor(t: TestContext) {
    t.after(() => this.#remove());
    writeFileSync(this.configPath, CONFIG);
    this.namespace.ip(
      'link set lo up',
      'link add up0 type veth peer name up1',
      'link add ic0 type veth peer name ic1',
      'address add 192.0.2.1/24 dev up0',
      'link set up0 up',
      'link set up1 up',
      'link set ic1 up',
      'route add default via 192.0.2.254',
    );
    this.namespace.exec('sysctl', ['-qw', 'net.ipv4.ip_local_reserved_ports=8080,61010-61020']);
    // A router whose administrator trusts its neighbours: what lets most through.
    for (const name of ['all', 'default', 'up0', 'ic0']) {
      this.namespace.exec('sysctl', ['-qw', `net.ipv4.conf.${name}.rp_filter=0`]);
    }
    this.namespace.exec('sysctl', ['-qw', 'net.ipv4.ip_forward=1']);
  }

  /**
   * Takes the other ends of the cables (`up1`, `ic1`) to where next hops and the GRE peer answer. Once more for cables that
   * were made anew.
   */
  answer(): NetworkNamespace {
    this.#far ??= new NetworkNamespace();
    const here = this.namespace.exec('ip', ['-brief', 'link']);
    const ends = [
      ['up1', '192.0.2.254/24', '192.0.2.253/24', '192.0.2.9/24', '192.0.2.8/24', '192.0.2.7/24'],
      ['ic1', '172.20.0.2/30'],
    ] as const;
    for (const [device, ...addresses] of ends) {
      if (!new RegExp(`^${device}@`, 'm').test(here)) continue;
      this.namespace.ip(`link set ${device} netns ${this.#far.name}`);
      this.#far.ip(
        ...addresses.map((address) => `address add ${address} dev ${device}`),
        `link set ${device} up`,
      );
    }
    return this.#far;
  }

  /** Starts the daemon; with arguments: by `setpriv`, which they are for. */
  start(...privileges: readonly string[]): ChildProcessWithoutNullStreams {
    const command = [process.execPath, DAEMON_END, 'run', this.configPath];
    const [program, ...args] = privileges.length === 0 ? command : ['setpriv', ...privileges, ...command];
    const daemon = this.namespace.spawn(program!, args, this.environment);
    let output = '';
    for (const stream of [daemon.stdout, daemon.stderr]) {
      stream.on('data', (data: Buffer) => {
        output += data.toString();
      });
    }
    this.#daemon = { process: daemon, output: () => output };
    return daemon;
  }

  /** What the daemon that was started last has written. */
  output(): string {
    return this.#daemon?.output() ?? '';
  }

  async status(): Promise<StatusBody> {
    return statusSchema.parse(await this.api.status());
  }

  /** Throws, with its log, if the daemon that was started last ends instead. */
  async forwarding(): Promise<StatusBody> {
    let last = '';
    try {
      return await eventually('the gateway forwards', async () => {
        if (this.#daemon?.process.exitCode != null) throw new Error('the daemon has ended');
        const status = await this.status().catch((error: Error) => {
          last = error.message;
        });
        return status?.dataPlane.state === 'forwarding' ? status : undefined;
      });
    } catch (error) {
      throw new Error(`${(error as Error).message} (${last}):\n${this.output()}`);
    }
  }

  /** Whatever homeward may change on a host, as text: one line a fact, so that a difference can be read. */
  picture(): string {
    const links = JSON.parse(this.namespace.exec('ip', ['-json', 'address'])) as {
      ifname: string;
      flags: string[];
      addr_info: { local: string }[];
    }[];
    const shown = links.map(({ ifname, flags, addr_info }) => {
      // Carrier comes and goes with the other end.
      const own = flags.filter((flag) => ['UP', 'NOARP'].includes(flag));
      // Link-local addresses and those that are being checked for duplicates come by themselves.
      const addresses = addr_info.map(({ local }) => local).filter((address) => !address.startsWith('fe80'));
      return `${ifname} ${own} ${addresses}`;
    });
    const settings = links.flatMap(({ ifname }) => [
      `net.ipv6.conf.${ifname}.disable_ipv6`,
      `net.ipv4.conf.${ifname}.forwarding`,
      `net.ipv4.conf.${ifname}.rp_filter`,
    ]);
    return [
      ...shown.sort(),
      this.namespace.exec('sysctl', [...settings.sort(), 'net.ipv4.ip_local_reserved_ports']).trim(),
      this.namespace.exec('nft', ['list', 'ruleset']),
    ].join('\n');
  }

  /** Processes in the namespace, with their command lines. */
  processes(): string[] {
    return this.namespace.pids().flatMap((pid) => {
      try {
        return [`${pid} ${readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ').trim()}`];
      } catch {
        return [];
      }
    });
  }

  /** Files of the instance; none if its directory is gone. */
  files(): string[] {
    return existsSync(this.runtimeDirectory) ? readdirSync(this.runtimeDirectory) : [];
  }

  /** Of the network namespace: stands in the names of what an instance keeps outside its directory. */
  get inode(): string {
    return /\[(\d+)\]/.exec(this.namespace.exec('readlink', ['/proc/self/ns/net']))![1]!;
  }

  sysctl(name: string): string {
    return this.namespace.exec('sysctl', ['-n', name]).trim();
  }

  /** The program that a test starts is `ip netns exec`, which has become the daemon itself. */
  async end(child: ChildProcessWithoutNullStreams, signal: NodeJS.Signals): Promise<number | null> {
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
    child.kill(signal);
    return await ended;
  }

  /** Runs `daemon-end.ts` to its end; what it prints. */
  run(...what: string[]): Promise<Record<string, unknown>> {
    return this.runWith({ HOMEWARD_RUNTIME_DIR: this.runtimeDirectory }, ...what);
  }

  /** As {@link run}, with other variables in its environment. */
  async runWith(
    environment: Readonly<Record<string, string>>,
    ...what: string[]
  ): Promise<Record<string, unknown>> {
    const { stdout, stderr } = await this.namespace.attempt('env', [
      `HOMEWARD_STATE_DIR=${this.environment.HOMEWARD_STATE_DIR}`,
      ...Object.entries(environment).map(([name, value]) => `${name}=${value}`),
      process.execPath,
      DAEMON_END,
      ...what,
    ]);
    const last = stdout.trim().split('\n').at(-1)!;
    if (last === '') throw new Error(stderr);
    return JSON.parse(last) as Record<string, unknown>;
  }

  async #remove(): Promise<void> {
    await this.namespace.endProcesses();
    await this.run('take-down');
    await this.namespace.remove();
    await this.#far?.remove();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

export function isRunning(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) [ZX]/.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
}
