/**
 * strongSwan's IKE daemon (`charon-systemd`) as a child: with a directory, a configuration and a VICI socket of its own,
 * started anew when it ends, gone when we are.
 *
 * ```
 *  stopped -- start --> preparing -- spawned --> starting -- socket there, `attach` done --> running
 *                           ^                       |                                          |
 *                           +---- after a while ----+------------------ it ended --------------+
 * ```
 *
 * Nothing of the host's strongSwan is read: no `/etc/strongswan.conf`, no `/etc/swanctl`, no journal.
 *
 * Nobody can speak to it before `attach` is done: it listens under another name until then. So no SA is ever up whose
 * device is not where it belongs.
 *
 * Neighbours: `reconciler.ts` talks to it; `user-space.ts` says what stands around it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { PATIENCE } from '../patience.ts';
import type { IpsecLog } from './host-tools.ts';

export const CHARON_PATH = '/usr/sbin/charon-systemd';

const FIRST_RETRY_MS = 500;
const MAX_RETRY_MS = 10_000;
/** A daemon that ran so long has not failed at its start: the next one comes at once. */
const STABLE_MS = 30_000;
const SOCKET_TIMEOUT_MS = 15_000 * PATIENCE;
const STOP_TIMEOUT_MS = 2_000 * PATIENCE;
const POLL_MS = 20;
const REPETITIONS = Math.round(3 * PATIENCE);
const HALF_OPEN_SECONDS = Math.round(10 * PATIENCE);

/** What it may use, if it is there; names of plugins. `kernel-libipsec` stands in front of `kernel-netlink`. */
const PLUGINS =
  'random nonce aesni aes sha1 sha2 hmac xcbc cmac gcm ccm ctr chapoly curve25519 kdf openssl ' +
  'pem pkcs1 pkcs8 x509 pubkey constraints revocation';

export interface CharonOptions {
  /** For its files; made, and removed at the end. */
  readonly directory: string;
  /** What it is started by, such as `ip netns exec NAME`. */
  readonly command: readonly string[];
  /** Default: {@link CHARON_PATH}. */
  readonly program?: string;
  /** ESP in the daemon itself, by a TUN device (`kernel-libipsec`), instead of the kernel's. */
  readonly userSpace: boolean;
  /** For log lines: which tunnel's, if it has only one. */
  readonly label: string;
  readonly log: IpsecLog;
  /** Before each start. */
  readonly prepare: () => Promise<void>;
  /** After each start, when it listens. */
  readonly attach: () => Promise<void>;
  /** It runs. */
  readonly onRunning: () => void;
  /** It does not run (any more), and why. */
  readonly onDown: (reason: string) => void;
}

/**
 * The command line of a daemon that ends with the process `parent`. When that is killed, the kernel kills the daemon:
 * nobody would look after it. Had it been gone before this was arranged, the kernel would wait for nobody: so the shell,
 * which comes after, runs nothing for another parent.
 */
export function endingWith(parent: number, command: readonly string[]): [program: string, ...args: string[]] {
  const unlessOrphan = '[ "$PPID" = "$0" ] && exec "$@"';
  return ['setpriv', '--pdeathsig', 'KILL', 'sh', '-c', unlessOrphan, String(parent), ...command];
}

export class Charon {
  /** There, and its own, while it runs. */
  readonly socketPath: string;
  /** Where it listens until `attach` is done. */
  readonly #hiddenSocketPath: string;
  readonly #options: CharonOptions;
  readonly #configPath: string;
  #process: ChildProcess | undefined;
  /** Of what it has printed. */
  #lastLine = '';
  /** Of an end that was wanted. */
  #whyEnded: string | undefined;
  #stopped = false;
  #retry: NodeJS.Timeout | undefined;
  #retryMs = FIRST_RETRY_MS;
  #starting: Promise<void> = Promise.resolve();

  constructor(options: CharonOptions) {
    this.#options = options;
    this.socketPath = join(options.directory, 'vici');
    this.#hiddenSocketPath = join(options.directory, 'vici.new');
    this.#configPath = join(options.directory, 'strongswan.conf');
  }

  /** Starts it, and keeps it running until {@link stop}. Says by the callbacks how it goes. */
  start(): void {
    this.#starting = this.#start();
  }

  /** Ends it: orderly, so that peers are told, unless that takes too long. Resolves when it is gone. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#retry);
    await this.#starting;
    await this.#end();
    rmSync(this.#options.directory, { recursive: true, force: true });
  }

  /** Ends it, and starts it anew after the usual pause: what it needs around it is not there any more. */
  restart(reason: string): void {
    this.#whyEnded = reason;
    void this.#end();
  }

  async #start(): Promise<void> {
    const { directory, prepare, attach, onRunning } = this.#options;
    const startedAt = performance.now();
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      for (const path of [this.socketPath, this.#hiddenSocketPath]) rmSync(path, { force: true });
      writeFileSync(this.#configPath, charonConfiguration(this.#hiddenSocketPath, this.#options.userSpace), {
        mode: 0o600,
      });
      await prepare();
      if (this.#stopped) return;
      const child = this.#spawn();
      const ended = new Promise<string>((resolve) => {
        child.once('error', ({ message }) => resolve(`the IKE daemon cannot be started (${message})`));
        child.once('close', (status, signal) =>
          resolve(`the IKE daemon has ended (${signal ?? `status ${status}`})`),
        );
      });
      const failed = ended.then((reason) => Promise.reject(new Error(`${reason}: ${this.#lastLine}`)));
      await Promise.race([this.#listens(child), failed]);
      await attach();
      renameSync(this.#hiddenSocketPath, this.socketPath);
      void ended.then((reason) => {
        if (performance.now() - startedAt > STABLE_MS) this.#retryMs = FIRST_RETRY_MS;
        const why = this.#whyEnded ?? reason;
        this.#whyEnded = undefined;
        this.#again(why);
      });
      if (!this.#stopped && this.#process === child && child.exitCode === null) onRunning();
    } catch (error) {
      await this.#end();
      this.#again((error as Error).message);
    }
  }

  #spawn(): ChildProcess {
    const { command, label, log, program = CHARON_PATH } = this.#options;
    this.#lastLine = 'it said nothing';
    const [first, ...args] = endingWith(process.pid, [...command, program]);
    const child = spawn(first, args, {
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      // Not the notification socket of our own service, nor anything else that is not the daemon's.
      env: { PATH: process.env.PATH, STRONGSWAN_CONF: this.#configPath },
    });
    this.#process = child;
    for (const stream of [child.stdout!, child.stderr!]) {
      createInterface({ input: stream }).on('line', (line) => {
        this.#lastLine = line;
        log('debug', { process: 'charon', ...(label === '' ? {} : { tunnel: label }) }, line);
      });
    }
    child.once('close', () => {
      if (this.#process === child) this.#process = undefined;
    });
    child.once('error', () => {
      if (this.#process === child) this.#process = undefined;
    });
    return child;
  }

  async #listens(child: ChildProcess): Promise<void> {
    const deadline = performance.now() + SOCKET_TIMEOUT_MS;
    while (!existsSync(this.#hiddenSocketPath)) {
      if (this.#stopped) throw new Error('it is not wanted any more');
      // Why is told by the end itself.
      if (this.#process !== child) return;
      if (performance.now() > deadline) throw new Error('the IKE daemon does not listen');
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  async #end(): Promise<void> {
    const child = this.#process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('close', resolve));
    child.kill('SIGTERM');
    const killer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await gone;
    clearTimeout(killer);
  }

  #again(reason: string): void {
    if (this.#stopped) return;
    this.#options.onDown(reason);
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => {
      if (!this.#stopped) this.start();
    }, this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, MAX_RETRY_MS);
  }
}

/**
 * The daemon's `strongswan.conf`. A value ends with its line.
 *
 * A peer that does not answer is given up after three repetitions, 0.7 seconds apart: with the DPD interval of two
 * seconds that a tunnel has by default, within five. Where all is slow, after more of them.
 */
export function charonConfiguration(socketPath: string, userSpace: boolean): string {
  const kernel = userSpace ? 'kernel-libipsec kernel-netlink' : 'kernel-netlink';
  return `charon-systemd {
  load_modular = no
  load = ${PLUGINS} ${kernel} socket-default vici
  # Routes are the pipeline's.
  install_routes = no
  install_virtual_ip = no
  retransmit_timeout = 0.7
  retransmit_base = 1.0
  retransmit_tries = ${REPETITIONS}
  # Attempts of peers that never end must not keep others out for long.
  half_open_timeout = ${HALF_OPEN_SECONDS}
${userSpace ? '' : '  # Each tunnel that is being called keeps one waiting.\n  threads = 24\n'}  plugins {
    vici {
      socket = unix://${socketPath}
    }
${
  userSpace
    ? `    kernel-libipsec {
      allow_peer_ts = yes
    }
    kernel-netlink {
      # No packet has this mark: the routes that kernel-libipsec makes lead nobody anywhere.
      fwmark = 0xdead
    }
`
    : `    kernel-netlink {
      # As the kernel has it.
      xfrm_acq_expires = 30
    }
`
}  }
  journal {
    default = -1
  }
  syslog {
    daemon {
      default = -1
    }
    auth {
      default = -1
    }
  }
  filelog {
    stderr {
      # Level 4 would print keys.
      default = 1
      ike_name = yes
      flush_line = yes
    }
  }
}
`;
}
