/**
 * A foreign peer of another make: libreswan with an `ipsec.conf` as docs/ipsec.md shows it. Its ESP is the kernel's, by an
 * XFRM interface (`ipsec1`), so it runs on a full kernel only.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PeerAuthentication, PeerCertificate } from './ipsec-peer.ts';
import { eventually } from './patience.ts';

const PROGRAMS = '/usr/libexec/ipsec';
/** Name of its own certificate in its database. */
const OWN_CERTIFICATE = 'own';

/** Its interface; routes to the gateway's networks lead there. */
export const LIBRESWAN_DEVICE = 'ipsec1';

/** Of its routes: what driver `libipsec` carries. */
export const LIBRESWAN_MTU = 1400;

/** Between two questions whether the gateway lives: longer than anything takes in an emulated guest. */
const DPD_SECONDS = 20;

/** Why there can be no such peer here, if so. */
export function libreswanObstacle(): string | undefined {
  if (!existsSync(`${PROGRAMS}/pluto`)) return 'pluto is not there (Debian: libreswan)';
  if (!existsSync('/proc/net/xfrm_stat')) return 'this kernel has no XFRM';
  return undefined;
}

export interface LibreswanPeerOptions {
  /** Name of its network namespace. */
  readonly namespace: string;
  /** For its files; made. */
  readonly directory: string;
  readonly local: string;
  readonly remote: string;
  readonly localId: string;
  readonly remoteId: string;
  readonly authentication: PeerAuthentication;
  /**
   * Its own networks. Routes to the gateway's are the caller's to make: the daemon would wait for a script that makes them, in
   * an emulated guest for so long that the gateway takes it for dead.
   */
  readonly networks: readonly string[];
  /** Lines of the connection. */
  readonly lines?: readonly string[];
}

export class LibreswanPeer {
  readonly #options: LibreswanPeerOptions;
  #process: ChildProcess | undefined;
  #hasBegun = false;

  constructor(options: LibreswanPeerOptions) {
    this.#options = options;
    mkdirSync(this.#path('nss'), { recursive: true });
    writeFileSync(this.#path('ipsec.conf'), this.#configuration());
    writeFileSync(this.#path('ipsec.secrets'), this.#secrets(), { mode: 0o600 });
    this.#run('certutil', '-N', '-d', this.#database, '--empty-password');
    if ('certificate' in options.authentication) this.#import(options.authentication);
  }

  /** What the daemon has logged. */
  get log(): string {
    return existsSync(this.#path('pluto.log')) ? readFileSync(this.#path('pluto.log'), 'utf8') : '';
  }

  /** Starts the daemon and loads the connections. */
  async start(): Promise<void> {
    const { namespace } = this.#options;
    this.#removeLeftovers();
    this.#loadModules();
    this.#process = spawn(
      'ip',
      [
        ...[
          'netns',
          'exec',
          namespace,
          `${PROGRAMS}/pluto`,
          '--nofork',
          '--config',
          this.#path('ipsec.conf'),
        ],
        ...['--rundir', this.#path('run'), '--secretsfile', this.#path('ipsec.secrets')],
        ...[
          '--nssdir',
          this.#path('nss'),
          '--ipsecdir',
          this.#path(''),
          '--logfile',
          this.#path('pluto.log'),
        ],
      ],
      { detached: true, stdio: 'ignore' },
    );
    await eventually('libreswan listens', () => existsSync(this.#socket));
    this.whack('--listen');
    for (const name of this.#names) {
      this.#here(
        `${PROGRAMS}/addconn`,
        '--config',
        this.#path('ipsec.conf'),
        '--ctlsocket',
        this.#socket,
        name,
      );
    }
    this.#hasBegun = false;
  }

  /** Begins to connect, unless it has. Nobody is to call before the other end listens: the pauses get longer each time. */
  begin(): void {
    if (this.#hasBegun) return;
    this.#hasBegun = true;
    for (const name of this.#names) this.whack('--asynchronous', '--name', name, '--initiate');
  }

  /** Runs a command of `ipsec whack`; what it says. */
  whack(...args: readonly string[]): string {
    return this.#here(`${PROGRAMS}/whack`, '--ctlsocket', this.#socket, ...args);
  }

  /** Resolves when every network has a child SA. */
  async connected(): Promise<void> {
    const wait = eventually(
      'libreswan is connected',
      () => {
        const status = this.whack('--trafficstatus');
        return this.#names.every((name) => status.includes(`"${name}"`));
      },
      30_000,
    );
    await wait.catch((error: Error) => {
      throw new Error(`${error.message}:\n${this.log}`);
    });
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const running = this.#process;
    this.#process = undefined;
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) return;
    const gone = new Promise((resolve) => running.once('exit', resolve));
    running.kill(signal);
    await gone;
  }

  /** One connection for each network: libreswan has one pair of selectors in a child SA. */
  get #names(): readonly string[] {
    return this.#options.networks.map((_, at) => `gateway-${at}`);
  }

  get #socket(): string {
    return this.#path('run/pluto.ctl');
  }

  get #database(): string {
    return `sql:${this.#path('nss')}`;
  }

  #path(name: string): string {
    return join(this.#options.directory, name);
  }

  /** The certificate with its key, by the name `own`, and the authority's. */
  #import({ certificate, key, authority }: PeerCertificate): void {
    const bundle = this.#path('own.p12');
    const content = ['-in', certificate, '-inkey', key, '-name', OWN_CERTIFICATE];
    this.#run('openssl', 'pkcs12', '-export', ...content, '-passout', 'pass:', '-out', bundle);
    this.#run('pk12util', '-i', bundle, '-d', this.#database, '-W', '');
    this.#run('certutil', '-A', '-d', this.#database, '-n', 'authority', '-t', 'CT,,', '-i', authority);
  }

  /** The kernel loads what ESP needs with the first SA, which in a guest takes minutes: no daemon is to wait for it. */
  #loadModules(): void {
    const ends = ['src', '192.0.2.1', 'dst', '192.0.2.2', 'proto', 'esp', 'spi', '0x100'];
    const key = `0x${'00'.repeat(36)}`;
    this.#here(
      'ip',
      'xfrm',
      'state',
      'add',
      ...ends,
      'mode',
      'tunnel',
      'aead',
      'rfc4106(gcm(aes))',
      key,
      '128',
    );
    this.#here('ip', 'xfrm', 'state', 'delete', ...ends);
  }

  /** One that was killed leaves its lock, its socket, its interface and the kernel's SAs: the next one would not start. */
  #removeLeftovers(): void {
    rmSync(this.#path('run'), { recursive: true, force: true });
    mkdirSync(this.#path('run'), { recursive: true });
    if (this.#here('ip', '-brief', 'link', 'show', 'type', 'xfrm') === '') return;
    this.#here('ip', 'xfrm', 'state', 'flush');
    this.#here('ip', 'xfrm', 'policy', 'flush');
    this.#here('ip', 'link', 'delete', LIBRESWAN_DEVICE);
  }

  #here(program: string, ...args: readonly string[]): string {
    return this.#run('ip', 'netns', 'exec', this.#options.namespace, program, ...args);
  }

  #run(program: string, ...args: readonly string[]): string {
    const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
    if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr}${stdout}\n${this.log}`);
    return stdout;
  }

  #secrets(): string {
    const { authentication, localId, remoteId } = this.#options;
    return 'secret' in authentication ? `@${localId} @${remoteId} : PSK "${authentication.secret}"\n` : '';
  }

  #configuration(): string {
    const { local, remote, localId, remoteId, authentication, networks, lines = [] } = this.#options;
    const identity = [
      `leftid=@${localId}`,
      `rightid=@${remoteId}`,
      ...('secret' in authentication
        ? ['authby=secret']
        : ['authby=ecdsa', `leftcert=${OWN_CERTIFICATE}`, 'rightca=%same']),
    ];
    const common = [
      'ikev2=insist',
      `left=${local}`,
      `right=${remote}`,
      ...identity,
      'ike=aes_gcm256-sha2_384;dh20',
      'esp=aes_gcm256',
      'pfs=no',
      'ipsec-interface=yes',
      `dpddelay=${DPD_SECONDS}`,
      'retransmit-timeout=60s',
      'auto=ignore',
      ...lines,
    ];
    const connections = networks.map((prefix, at) => [
      `conn gateway-${at}`,
      '\talso=gateway',
      `\tleftsubnet=${prefix}`,
      '\tleftupdown="%disabled"',
      `\trightsubnet=${prefix.includes(':') ? '::/0' : '0.0.0.0/0'}`,
      '',
    ]);
    return [
      'config setup',
      '\tuniqueids=yes',
      '',
      'conn gateway',
      ...common.map((line) => `\t${line}`),
      '',
      ...connections.flat(),
    ].join('\n');
  }
}
