/**
 * Runs the IPsec tunnels that a plan wishes for, each by its driver, and tells how they are.
 *
 * ```
 *  plan applied ── retire(wishes) ── devices that nobody needs are removed ── apply(wishes) ──► drivers ──► daemons, devices
 *  facts, status ◄── running(), status() ── states ──► onChange: the plan is looked at anew, ports go up and down
 * ```
 *
 * What their states mean to users is told by `../port-states/`. Tunnels are stopped with the control process, however it ends: a
 * daemon that nobody looks after would go on with what was configured once.
 *
 * Neighbours: `../compile/ipsec-wish.ts`, `../../tunnel/ipsec/` (the drivers), `ike-credentials.ts`.
 */
import { join } from 'node:path';
import { type DrivenTunnel, type IpsecDriverOptions, isSameTunnel } from '../../tunnel/ipsec/driver.ts';
import type { RunTool } from '../../tunnel/ipsec/host-tools.ts';
import { KernelDriver, removeKernelLeftovers } from '../../tunnel/ipsec/kernel.ts';
import type { IpsecDetails } from '../../tunnel/ipsec/tracked-tunnel.ts';
import type { IpsecTunnelStatus } from '../../tunnel/ipsec/tunnel-state.ts';
import { UserSpaceDriver } from '../../tunnel/ipsec/user-space.ts';
import { removeLeftovers } from '../../tunnel/ipsec/user-space-host.ts';
import type { IpsecWish } from '../compile/ipsec-wish.ts';
import type { IpsecConfig } from '../config/ipsec-config.ts';
import type { IpsecDriverName, IpsecFacts, RunningIpsecTunnel } from '../facts.ts';
import type { Logger } from '../runtime/logger.ts';
import { CertificateWatch } from './certificates.ts';
import { keepDaemonSocket, readDaemonSocket } from './daemon-socket.ts';
import { readIkeCredentials } from './ike-credentials.ts';
import { type IpsecView, ipsecView } from './ipsec-view.ts';

/**
 * Until the host is looked at again because a tunnel is down for another reason than before. Whoever may write to our
 * IKE ports makes reasons.
 */
const REASON_LOOK_MS = 10_000;

export interface IpsecServiceOptions {
  /** For the daemons' files. */
  readonly directory: string;
  /** Tells gateways on one host apart. */
  readonly instance: string;
  readonly run: RunTool;
  readonly logger: Logger;
  /** A tunnel came into another state. */
  readonly onChange: () => void;
}

export class IpsecService {
  readonly #options: IpsecServiceOptions;
  readonly #userSpace: UserSpaceDriver;
  #kernel: KernelDriver;
  /** VICI socket of the host's daemon that `#kernel` uses; null: its own. */
  #daemonSocket: string | null = null;
  #wishes: readonly IpsecWish[] = [];
  #work: Promise<void> = Promise.resolve();
  /** Whether what an earlier process has left is away. */
  #isClean = false;
  readonly #certificates: CertificateWatch;
  #look: NodeJS.Timeout | undefined;

  constructor(options: IpsecServiceOptions) {
    this.#options = options;
    this.#userSpace = new UserSpaceDriver(this.#driverOptions());
    this.#kernel = new KernelDriver({ ...this.#driverOptions(), daemonSocket: null });
    const shown = (tunnel: string) => this.#details(tunnel)?.peerCertificate;
    this.#certificates = new CertificateWatch(options.logger, shown);
  }

  /**
   * Ends those that are not among these any more, while their devices are still there: with SAs, but without its device, a
   * tunnel's packets would come out of the uplink. Resolves when they have left nothing.
   *
   * @throws Error if SAs are still there, or that cannot be told: their devices must stay then, and it is to be tried again.
   */
  retire(wishes: readonly IpsecWish[], { daemonSocket }: IpsecConfig): Promise<void> {
    return this.#inTurn(async () => {
      await this.#clean(daemonSocket);
      const stay = this.#wishes.filter((wish) => wishes.some((next) => isSame(next, wish)));
      if (stay.length < this.#wishes.length) await this.#run(stay);
      await this.#kernel.clear();
      if (daemonSocket !== this.#daemonSocket) await this.#useDaemon(daemonSocket);
    });
  }

  /** Runs these and no others from now on, after {@link retire}. Never rejects. */
  apply(wishes: readonly IpsecWish[]): Promise<void> {
    return this.#inTurn(async () => {
      await this.#run(wishes);
      this.#certificates.watch(wishes.map(({ tunnel: { name }, ike }) => ({ name, ike })));
    }).catch((error: Error) => this.#options.logger.error({ error: error.message }, 'ipsec tunnels'));
  }

  /** For the compiler. */
  running(): IpsecFacts['running'] {
    return Object.fromEntries(
      this.#wishes.flatMap(({ key, tunnel }): [string, RunningIpsecTunnel][] => {
        const status = this.status(tunnel.name);
        return status === undefined ? [] : [[tunnel.name, { key, status }]];
      }),
    );
  }

  /** undefined: no tunnel of this name runs with IPsec. */
  status(tunnel: string): IpsecTunnelStatus | undefined {
    return this.#kernel.status(tunnel) ?? this.#userSpace.status(tunnel);
  }

  /** null: no `ipsec` tunnel of this name runs. */
  view(tunnel: string): IpsecView | null {
    const wish = this.#wishes.find((one) => one.tunnel.name === tunnel);
    if (wish === undefined) return null;
    return ipsecView(wish.tunnel, this.#details(tunnel), this.#certificates.of(tunnel));
  }

  /**
   * Ends all tunnels and takes away what was made for them.
   *
   * @throws Error if SAs are still there, or that cannot be told: the guard must stay then.
   */
  async stop(): Promise<void> {
    clearTimeout(this.#look);
    this.#certificates.stop();
    await this.#inTurn(async () => {
      await this.#run([]);
      await this.#kernel.clear();
    });
  }

  #details(tunnel: string): IpsecDetails | undefined {
    return this.#kernel.details(tunnel) ?? this.#userSpace.details(tunnel);
  }

  #driverOptions(): IpsecDriverOptions {
    const { directory, instance, run, logger } = this.#options;
    return {
      directory: join(directory, 'ipsec'),
      instance,
      run,
      log: (level, fields, text) => logger[level](fields, text),
      onState: (_, status, former) => this.#changed(status, former),
    };
  }

  async #run(wishes: readonly IpsecWish[]): Promise<void> {
    this.#wishes = wishes;
    const of = (driver: IpsecDriverName) => wishes.filter((wish) => wish.driver === driver).map(drivenTunnel);
    await Promise.all([this.#kernel.apply(of('xfrm')), this.#userSpace.apply(of('libipsec'))]);
  }

  /** Once: takes away what an earlier process has left, but for what the host's daemon goes on with for us. */
  async #clean(daemonSocket: string | null): Promise<void> {
    if (this.#isClean) return;
    const { directory, instance, run } = this.#options;
    await removeLeftovers(instance, run);
    const former = readDaemonSocket(directory);
    if (former === null || former !== daemonSocket) {
      await removeKernelLeftovers(this.#driverOptions(), former);
    }
    this.#isClean = true;
  }

  /** Another daemon than before: with it come all SAs anew. */
  async #useDaemon(socket: string | null): Promise<void> {
    await this.#kernel.stop();
    keepDaemonSocket(this.#options.directory, socket);
    this.#daemonSocket = socket;
    this.#kernel = new KernelDriver({ ...this.#driverOptions(), daemonSocket: socket });
    this.#wishes = this.#wishes.filter(({ driver }) => driver !== 'xfrm');
  }

  /** @returns what becomes of the job. */
  #inTurn(job: () => Promise<void>): Promise<void> {
    const done = this.#work.then(job);
    this.#work = done.catch(() => {});
    return done;
  }

  #changed(status: IpsecTunnelStatus, former: IpsecTunnelStatus): void {
    const { onChange } = this.#options;
    if (status.state !== former.state) {
      onChange();
      return;
    }
    this.#look ??= setTimeout(() => {
      this.#look = undefined;
      onChange();
    }, REASON_LOOK_MS).unref();
  }
}

function drivenTunnel({ key, tunnel, ike, path }: IpsecWish): DrivenTunnel {
  return { key, tunnel, path, credentials: () => readIkeCredentials(ike) };
}

function isSame(one: IpsecWish, other: IpsecWish): boolean {
  return one.driver === other.driver && isSameTunnel(one, other);
}
