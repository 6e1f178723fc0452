/**
 * The `libipsec` driver: for each tunnel a daemon of its own, in a namespace of its own, which does ESP itself.
 *
 * One daemon for several tunnels would be unsafe: `kernel-libipsec` knows SAs by their selectors alone, which are the
 * same for all of ours, and the newest would get everybody's packets.
 *
 * When a daemon ends, its device goes with it, and so only that tunnel; everything around it is made anew, from the
 * namespace on.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { Charon } from './charon.ts';
import type { DrivenTunnel, IpsecDriver, IpsecDriverOptions } from './driver.ts';
import { Reconciler } from './reconciler.ts';
import type { IpsecDetails } from './tracked-tunnel.ts';
import { type IpsecTunnelStatus, TunnelState } from './tunnel-state.ts';
import {
  furnishNamespace,
  isHere,
  makeNamespace,
  moveDevice,
  type UplinkPath,
  UplinkSteering,
  type UserSpaceNames,
  userSpaceNames,
} from './user-space-host.ts';

const DEVICE_TIMEOUT_MS = 5_000;
const POLL_MS = 20;

export class UserSpaceDriver implements IpsecDriver {
  readonly #options: IpsecDriverOptions;
  readonly #steering: UplinkSteering;
  readonly #tunnels = new Map<string, UserSpaceTunnel>();

  constructor(options: IpsecDriverOptions) {
    this.#options = options;
    this.#steering = new UplinkSteering(options.run);
  }

  async apply(tunnels: readonly DrivenTunnel[]): Promise<void> {
    const wanted = new Map(tunnels.map((tunnel) => [tunnel.tunnel.name, tunnel]));
    const gone = [...this.#tunnels].filter(([name, running]) => {
      const next = wanted.get(name);
      return next === undefined || !running.canBecome(next);
    });
    await Promise.all(
      gone.map(async ([name, running]) => {
        this.#tunnels.delete(name);
        await running.stop();
      }),
    );
    for (const [name, tunnel] of wanted) {
      const running = this.#tunnels.get(name);
      if (running !== undefined) running.become(tunnel);
      else this.#tunnels.set(name, new UserSpaceTunnel(tunnel, this.#steering, this.#options));
    }
    if (this.#tunnels.size > 0) await this.#steering.renew().catch((error: Error) => this.#failed(error));
  }

  status(tunnel: string): IpsecTunnelStatus | undefined {
    return this.#tunnels.get(tunnel)?.status;
  }

  details(tunnel: string): IpsecDetails | undefined {
    return this.#tunnels.get(tunnel)?.details;
  }

  async stop(): Promise<void> {
    await this.apply([]);
  }

  #failed(error: Error): void {
    this.#options.log('warn', {}, `the way of IPsec packets cannot be set: ${error.message}`);
  }
}

class UserSpaceTunnel {
  readonly #names: UserSpaceNames;
  readonly #steering: UplinkSteering;
  readonly #options: IpsecDriverOptions;
  readonly #reconciler: Reconciler;
  readonly #charon: Charon;
  /** Of a tunnel without a path, which has no daemon. */
  readonly #pathless: TunnelState;
  #wanted: DrivenTunnel;
  /** Of the daemon's end of the wire. */
  #mac = '';
  /** Whether packets go to the daemon: only while it knows the tunnel. */
  #isSteered = false;
  #isRunning = false;
  /** Whether daemon, device and wire were in place, and nobody has looked for them anew. */
  #isInPlace = false;

  constructor(wanted: DrivenTunnel, steering: UplinkSteering, options: IpsecDriverOptions) {
    const { name } = wanted.tunnel;
    this.#wanted = wanted;
    this.#steering = steering;
    this.#options = options;
    this.#names = userSpaceNames(options.instance, name);
    this.#pathless = new TunnelState((status, former) => options.onState(name, status, former));
    // The name of a socket's path is limited: no tunnel's name in it.
    const directory = join(options.directory, createHash('sha256').update(name).digest('hex').slice(0, 8));
    this.#charon = new Charon({
      directory,
      command: ['ip', 'netns', 'exec', this.#names.namespace],
      userSpace: true,
      label: name,
      log: options.log,
      prepare: () => this.#prepare(),
      attach: () => this.#attach(),
      onRunning: () => {
        this.#isInPlace = true;
        this.#reconciler.hurry();
      },
      onDown: (reason) => {
        this.#isInPlace = false;
        options.log('warn', { tunnel: name }, reason);
        this.#reconciler.down(reason);
      },
    });
    this.#reconciler = new Reconciler({
      socketPath: this.#charon.socketPath,
      log: options.log,
      attemptsAtATime: 1,
      onState: options.onState,
      onSilent: () => this.#restart('the IKE daemon did not answer any more'),
      onLoaded: () => this.#steer(this.#path()),
    });
    this.become(wanted);
  }

  get status(): IpsecTunnelStatus {
    return this.#reconciler.status(this.#wanted.tunnel.name) ?? this.#pathless.status;
  }

  get details(): IpsecDetails | undefined {
    return this.#reconciler.details(this.#wanted.tunnel.name);
  }

  /** Whether this can go on as that: it is the same tunnel, and what its namespace is made from is the same. */
  canBecome({ key, path }: DrivenTunnel): boolean {
    const former = this.#wanted;
    if (key !== former.key) return false;
    // While there is no path, the daemon waits where it is.
    if (typeof path === 'string' || typeof former.path === 'string') return true;
    return path.mtu === former.path.mtu;
  }

  become(wanted: DrivenTunnel): void {
    const former = this.#wanted;
    this.#wanted = wanted;
    if (!this.#isRunning) {
      if (typeof wanted.path === 'string') {
        this.#pathless.down(wanted.path);
        return;
      }
      this.#isRunning = true;
      this.#reconciler.want([wanted]);
      this.#charon.start();
      this.#reconciler.start();
      return;
    }
    this.#lookAround();
    if (typeof wanted.path === 'string') {
      // What stands around the daemon stays: the address may be back in a moment.
      this.#wanted = { ...wanted, path: former.path };
      this.#reconciler.want([{ ...wanted, obstacle: wanted.path }]);
      return;
    }
    this.#reconciler.want([wanted]);
    if (this.#isSteered && JSON.stringify(wanted.path) !== JSON.stringify(former.path))
      void this.#steer(wanted.path).catch(() => {});
  }

  /** Where somebody has taken its device or its wire, the daemon goes on, and does not make them anew. */
  #lookAround(): void {
    const { device, wire } = this.#names;
    const gone = [device, wire].find((name) => !isHere(name));
    if (gone !== undefined) this.#restart(`somebody has removed its interface ${gone}`);
  }

  #restart(reason: string): void {
    if (!this.#isInPlace) return;
    this.#isInPlace = false;
    this.#charon.restart(reason);
  }

  async stop(): Promise<void> {
    this.#reconciler.stop();
    await this.#charon.stop();
    if (!this.#isRunning) return;
    this.#steering.forget(this.#wanted.tunnel.name);
    await this.#steering.renew().catch(() => {});
    // The wire goes with it.
    await this.#removeNamespace();
  }

  async #prepare(): Promise<void> {
    const path = this.#path();
    const { namespace } = this.#names;
    this.#steering.forget(this.#wanted.tunnel.name);
    this.#isSteered = false;
    await this.#removeNamespace();
    await this.#ip([], makeNamespace(this.#names, path));
    await this.#ip(['-n', namespace], furnishNamespace(path));
    const shown = await this.#options.run('ip', ['-n', namespace, '-json', 'link', 'show', 'dev', 'out']);
    this.#mac = (JSON.parse(shown) as { address: string }[])[0]!.address;
  }

  async #attach(): Promise<void> {
    const { namespace, device } = this.#names;
    const deadline = performance.now() + DEVICE_TIMEOUT_MS;
    while (!(await this.#options.run('ip', ['-n', namespace, '-brief', 'link'])).includes('ipsec0')) {
      if (performance.now() > deadline) {
        throw new Error(
          'the IKE daemon has made no device; kernel-libipsec is missing (Debian: libcharon-extra-plugins), or /dev/net/tun',
        );
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    await this.#ip(['-n', namespace], moveDevice(this.#names, process.pid)).catch((error: Error) => {
      throw new Error(`its device cannot be made as ${device}: ${error.message}`);
    });
  }

  async #steer(path: UplinkPath): Promise<void> {
    const { wire } = this.#names;
    await this.#steering.set(this.#wanted.tunnel.name, { ...path, wire, mac: this.#mac });
    this.#isSteered = true;
  }

  #path(): UplinkPath {
    const { path } = this.#wanted;
    if (typeof path === 'string') throw new Error(path);
    return path;
  }

  async #removeNamespace(): Promise<void> {
    const { namespace, wire } = this.#names;
    await this.#options.run('ip', ['-force', '-batch', '-'], {
      input: `link del ${wire}\nnetns del ${namespace}\n`,
      mayFail: true,
    });
  }

  async #ip(options: readonly string[], commands: readonly string[]): Promise<void> {
    await this.#options.run('ip', [...options, '-batch', '-'], { input: `${commands.join('\n')}\n` });
  }
}
