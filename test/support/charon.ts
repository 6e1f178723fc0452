/**
 * strongSwan's daemon in a network namespace of a test, with a configuration and a VICI socket of its own: nothing
 * of the host's strongSwan is read or touched.
 */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { NetworkNamespace } from './network-namespace.ts';
import { eventually } from './patience.ts';

const CHARON = '/usr/sbin/charon-systemd';

/** Why there can be no charon here, if so. */
export function charonObstacle(): string | undefined {
  return existsSync(CHARON) ? undefined : `${CHARON} is not there (Debian: charon-systemd)`;
}

export class Charon {
  readonly directory = mkdtempSync(join(tmpdir(), 'homeward-charon-'));
  readonly socketPath = join(this.directory, 'vici');
  readonly logPath = join(this.directory, 'charon.log');
  readonly #namespace: NetworkNamespace;
  #process: ReturnType<NetworkNamespace['spawn']> | undefined;

  constructor(namespace: NetworkNamespace) {
    this.#namespace = namespace;
    const configuration = join(this.directory, 'strongswan.conf');
    // `charon-systemd` reads the section of its own name; level 4 would print keys.
    writeFileSync(
      configuration,
      `charon-systemd {
  load_modular = no
  install_routes = no
  install_virtual_ip = no
  plugins { vici { socket = unix://${this.socketPath} } }
  syslog { daemon { default = -1 } }
  filelog { log { path = ${this.logPath} default = 1 flush_line = yes } }
}
`,
    );
  }

  /** Starts it; resolves when it listens. */
  async start(): Promise<void> {
    rmSync(this.socketPath, { force: true });
    this.#process = this.#namespace.spawn(CHARON, [], {
      ...process.env,
      STRONGSWAN_CONF: join(this.directory, 'strongswan.conf'),
    });
    await eventually('charon listens', () => existsSync(this.socketPath));
  }

  /** Sends it a signal that it lives on after. */
  signal(signal: NodeJS.Signals): void {
    this.#process?.kill(signal);
  }

  /** Ends it with `signal`; resolves when it is gone. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const running = this.#process;
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) return;
    const gone = new Promise((resolve) => running.once('exit', resolve));
    running.kill(signal);
    await gone;
  }

  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
