/**
 * A foreign peer: plain strongSwan with a `swanctl.conf` of its own, which homeward has not written. It does ESP itself
 * (`kernel-libipsec`), unless the kernel is to.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { eventually } from './patience.ts';

const CHARON = '/usr/sbin/charon-systemd';
const PLUGINS =
  'random nonce aesni aes sha1 sha2 hmac gcm kdf openssl pem pkcs1 pkcs8 x509 pubkey constraints revocation';

/** Of a daemon that does ESP itself: its settings of plugins. */
export const USER_SPACE = `    kernel-libipsec {
      allow_peer_ts = yes
    }
    # Its own packets must not take the route to 0.0.0.0/0 by the TUN device.
    kernel-netlink {
      fwmark = !0x42
    }
    socket-default {
      fwmark = 0x42
    }
`;

/** Why there can be no peer here, if so. */
export function ipsecObstacle(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root';
  if (!existsSync('/dev/net/tun')) return 'needs /dev/net/tun';
  if (!existsSync(CHARON)) return `${CHARON} is not there (Debian: charon-systemd)`;
  if (!existsSync('/usr/sbin/swanctl')) return 'swanctl is not there (Debian: strongswan-swanctl)';
  return undefined;
}

/** Paths of PEM files; `authority` has signed the gateway's. */
export interface PeerCertificate {
  readonly certificate: string;
  readonly key: string;
  readonly authority: string;
}

export type PeerAuthentication = { readonly secret: string } | PeerCertificate;

export interface IpsecPeerOptions {
  /** Name of its network namespace. */
  readonly namespace: string;
  /** For its files; made. */
  readonly directory: string;
  readonly local: string;
  readonly remote: string;
  readonly localId: string;
  readonly remoteId: string;
  readonly authentication: PeerAuthentication;
  /** Its own networks: what it narrows the gateway's selectors to. */
  readonly networks: readonly string[];
  /** Whether its kernel does ESP. */
  readonly kernel?: boolean;
  /** What it protects, as its configuration has it; default: its networks, towards everything. */
  readonly selectors?: string;
  /** Lines within the connection. */
  readonly connection?: string;
  /** Lines within the child. */
  readonly child?: string;
}

export class IpsecPeer {
  readonly #options: IpsecPeerOptions;
  #process: ChildProcess | undefined;

  constructor(options: IpsecPeerOptions) {
    this.#options = options;
    for (const folder of ['x509', 'x509ca', 'private']) mkdirSync(this.#path(folder), { recursive: true });
    writeFileSync(this.#path('strongswan.conf'), this.#strongswanConfiguration());
    this.authenticate(options.authentication);
  }

  get logPath(): string {
    return this.#path('charon.log');
  }

  /** Starts the daemon and loads its configuration. */
  async start(): Promise<void> {
    rmSync(this.#path('vici'), { force: true });
    this.#process = spawn('ip', ['netns', 'exec', this.#options.namespace, CHARON], {
      env: { PATH: process.env.PATH, STRONGSWAN_CONF: this.#path('strongswan.conf') },
      detached: true,
      stdio: 'ignore',
    });
    await eventually('the peer listens', () => existsSync(this.#path('vici')));
    this.#load();
  }

  /** Writes its configuration to authenticate by this, and loads it if the daemon runs. */
  authenticate(authentication: PeerAuthentication): void {
    writeFileSync(this.#path('swanctl.conf'), this.#swanctlConfiguration(authentication));
    if ('certificate' in authentication) {
      copyFileSync(authentication.certificate, this.#path('x509/own.pem'));
      copyFileSync(authentication.authority, this.#path('x509ca/authority.pem'));
      copyFileSync(authentication.key, this.#path('private/own.key'));
    }
    if (this.#process !== undefined) this.#load();
  }

  #load(): void {
    this.swanctl('--load-all', '--file', this.#path('swanctl.conf'), '--noprompt', '--clear');
  }

  /** Runs a command of swanctl; its standard output. Throws with what it said if it fails. */
  swanctl(command: string, ...args: readonly string[]): string {
    const { status, stdout, stderr } = spawnSync(
      'swanctl',
      [command, ...args, '--uri', `unix://${this.#path('vici')}`],
      // Nothing of the host's.
      { encoding: 'utf8', env: { PATH: process.env.PATH, SWANCTL_DIR: this.#options.directory } },
    );
    if (status !== 0) throw new Error(`swanctl ${command}: ${stderr}${stdout}`);
    return stdout;
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const running = this.#process;
    this.#process = undefined;
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) return;
    const gone = new Promise((resolve) => running.once('exit', resolve));
    running.kill(signal);
    await gone;
  }

  #path(name: string): string {
    return join(this.#options.directory, name);
  }

  #strongswanConfiguration(): string {
    return `charon-systemd {
  load_modular = no
  load = ${PLUGINS} ${this.#options.kernel === true ? '' : 'kernel-libipsec '}kernel-netlink socket-default vici
  install_virtual_ip = no
  retransmit_timeout = 1.0
  retransmit_base = 1.0
  retransmit_tries = 3
${this.#options.kernel === true ? '  install_routes = no\n' : ''}  plugins {
    vici {
      socket = unix://${this.#path('vici')}
    }
${this.#options.kernel === true ? '' : USER_SPACE}  }
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
    log {
      path = ${this.logPath}
      default = 1
      flush_line = yes
    }
  }
}
`;
  }

  #swanctlConfiguration(authentication: PeerAuthentication): string {
    const { local, remote, localId, remoteId, networks, connection = '', child = '' } = this.#options;
    const certified = 'certificate' in authentication;
    const auth = certified ? 'pubkey' : 'psk';
    const selectors =
      this.#options.selectors ?? `local_ts = ${networks.join(', ')}\n        remote_ts = 0.0.0.0/0, ::/0`;
    return `connections {
  gateway {
    version = 2
    local_addrs = ${local}
    remote_addrs = ${remote}
    proposals = aes256gcm16-prfsha384-ecp384
    dpd_delay = 2s
    ${connection}
    local {
      auth = ${auth}
      id = ${localId}
      ${certified ? 'certs = own.pem' : ''}
    }
    remote {
      auth = ${auth}
      id = ${remoteId}
      ${certified ? 'cacerts = authority.pem' : ''}
    }
    children {
      net {
        ${selectors}
        esp_proposals = aes256gcm16
        ${child}
      }
    }
  }
}
${
  certified
    ? ''
    : `secrets {
  ike-gateway {
    id-1 = ${localId}
    id-2 = ${remoteId}
    secret = "${authentication.secret}"
  }
}`
}
`;
  }
}
