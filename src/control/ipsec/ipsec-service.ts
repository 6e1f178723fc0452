/**
 * Runs the `ipsec` tunnels that a plan wishes for, each by its driver, and tells how they are.
 *
 * ```
 *  plan applied ── apply(wishes) ──► drivers ──► daemons, devices
 *  facts, status ◄── running(), status() ── states ──► onChange: the plan is looked at anew, ports go up and down
 * ```
 *
 * What their states mean to users is told by `../port-states/`. Tunnels are stopped with the control process, however it ends: a
 * daemon that nobody looks after would go on with what was configured once.
 *
 * Neighbours: `../compile/ipsec.ts` (the wishes), `../../tunnel/ipsec/` (the drivers), `ike-credentials.ts`.
 */
import { join } from 'node:path';
import type { DrivenTunnel, IpsecDriver } from '../../tunnel/ipsec/driver.ts';
import type { RunTool } from '../../tunnel/ipsec/host-tools.ts';
import type { IpsecTunnelStatus } from '../../tunnel/ipsec/tunnel-state.ts';
import { UserSpaceDriver } from '../../tunnel/ipsec/user-space.ts';
import { removeLeftovers } from '../../tunnel/ipsec/user-space-host.ts';
import type { IpsecWish } from '../compile/ipsec.ts';
import type { Logger } from '../runtime/logger.ts';
import { CertificateWatch } from './certificates.ts';
import { readIkeCredentials } from './ike-credentials.ts';
import type { IpsecFacts, RunningIpsecTunnel } from './ipsec-facts.ts';
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
  readonly #driver: IpsecDriver;
  #wishes: readonly IpsecWish[] = [];
  #work: Promise<void> = Promise.resolve();
  /** Whether what an earlier process has left is away. */
  #isClean = false;
  readonly #certificates: CertificateWatch;
  #look: NodeJS.Timeout | undefined;

  constructor(options: IpsecServiceOptions) {
    this.#options = options;
    const { directory, instance, run, logger } = options;
    this.#driver = new UserSpaceDriver({
      directory: join(directory, 'ipsec'),
      instance,
      run,
      log: (level, fields, text) => logger[level](fields, text),
      onState: (_, status, former) => this.#changed(status, former),
    });
    const shown = (tunnel: string) => this.#driver.details(tunnel)?.peerCertificate;
    this.#certificates = new CertificateWatch(logger, shown);
  }

  /** Runs these and no others from now on. Resolves when those that are gone have left nothing; never rejects. */
  apply(wishes: readonly IpsecWish[]): Promise<void> {
    this.#work = this.#work
      .then(async () => {
        const { instance, run } = this.#options;
        if (!this.#isClean) await removeLeftovers(instance, run);
        this.#isClean = true;
        this.#wishes = wishes;
        await this.#driver.apply(wishes.map(drivenTunnel));
        this.#certificates.watch(wishes.map(({ tunnel: { name }, config: { ike } }) => ({ name, ike })));
      })
      .catch((error: Error) => this.#options.logger.error({ error: error.message }, 'ipsec tunnels'));
    return this.#work;
  }

  /** For the compiler. */
  running(): IpsecFacts['running'] {
    return Object.fromEntries(
      this.#wishes.flatMap(({ key, tunnel }): [string, RunningIpsecTunnel][] => {
        const status = this.#driver.status(tunnel.name);
        return status === undefined ? [] : [[tunnel.name, { key, status }]];
      }),
    );
  }

  /** undefined: no `ipsec` tunnel of this name runs. */
  status(tunnel: string): IpsecTunnelStatus | undefined {
    return this.#driver.status(tunnel);
  }

  /** null: no `ipsec` tunnel of this name runs. */
  view(tunnel: string): IpsecView | null {
    const wish = this.#wishes.find((one) => one.tunnel.name === tunnel);
    if (wish === undefined) return null;
    return ipsecView(wish.tunnel, this.#driver.details(tunnel), this.#certificates.of(tunnel));
  }

  /** Ends all tunnels and takes away what was made for them. */
  async stop(): Promise<void> {
    clearTimeout(this.#look);
    this.#certificates.stop();
    await this.apply([]);
    await this.#driver.stop();
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

function drivenTunnel({ key, tunnel, config, path }: IpsecWish): DrivenTunnel {
  return { key, tunnel, path, credentials: () => readIkeCredentials(config.ike) };
}
