/**
 * The `xfrm` driver: the kernel does ESP, and one daemon does IKE for all tunnels; ours, or one that the host has.
 *
 * ```
 *  charon ── SAs with the tunnel's if_id ──► kernel ══► XFRM interface of the tunnel     made by whoever runs us,
 *    ▲                                         ▲                                         before the first SA
 *    └─ IKE, UDP 500 and 4500 ── uplink ── ESP ┘
 * ```
 *
 * The kernel keeps SAs whatever becomes of the daemon. What that means, and what we do about it:
 *
 * | what ends | SAs of ours |
 * | --- | --- |
 * | a tunnel, or all | are removed, before the interface is; an SA without one would give its packets to the uplink |
 * | our daemon, killed | stay until the next one starts, half a second later: it begins with none |
 * | our process, killed | as the daemon, which is killed with it. They go on for their lifetime at the longest, and what has no SA does not leave |
 * | our process, and the daemon is the host's | go on, and are rekeyed; the next process finds them |
 *
 * What could not be removed is tried again until it is ({@link KernelDriver.clear}).
 *
 * Neighbours: `kernel-host.ts` (SAs and policies in the kernel), `kernel-watch.ts` (whether they stay there), `peer-hold.ts`,
 * `charon.ts`, `reconciler.ts`.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Charon } from './charon.ts';
import { type DrivenTunnel, type IpsecDriver, type IpsecDriverOptions, isSameTunnel } from './driver.ts';
import { listSas, removeSas } from './kernel-host.ts';
import { KernelWatch } from './kernel-watch.ts';
import { holdPeers, releasePeers } from './peer-hold.ts';
import { Reconciler } from './reconciler.ts';
import type { IpsecDetails } from './tracked-tunnel.ts';
import type { IpsecTunnelStatus } from './tunnel-state.ts';

const IKE_PORTS = [500, 4500];
/**
 * Tunnels that are initiated at a time, each of which keeps a thread of the daemon waiting: ours has 24 (`charon.ts`), a host's
 * 16 by default. More at a time were not sooner up: 100 tunnels, two busy processors, measured once each: 8 at a time 13 s,
 * 6 at a time 20 s, 12 at a time 39 s, 24 at a time more than a minute. Why was not looked into.
 */
const OWN_ATTEMPTS = 8;
const HOST_ATTEMPTS = 6;
/** For a daemon that may be gone. */
const RELEASE_TIMEOUT_MS = 5_000;

export interface KernelDriverOptions extends IpsecDriverOptions {
  /** VICI socket of the host's daemon; null: one of our own. */
  readonly daemonSocket: string | null;
}

interface Daemon {
  /** undefined: the host's. */
  readonly charon: Charon | undefined;
  readonly reconciler: Reconciler;
  readonly watch: KernelWatch;
}

export class KernelDriver implements IpsecDriver {
  readonly #options: KernelDriverOptions;
  #tunnels = new Map<string, DrivenTunnel>();
  #daemon: Daemon | undefined;
  /** Whose SAs and policies may still be in the kernel, though their tunnels are gone; by id. */
  readonly #left = new Set<number>();
  /** Why there is no daemon, as it was last logged. */
  #told: string | undefined;

  constructor(options: KernelDriverOptions) {
    this.#options = options;
  }

  async apply(tunnels: readonly DrivenTunnel[]): Promise<void> {
    const wanted = new Map(tunnels.map((tunnel) => [tunnel.tunnel.name, tunnel]));
    const gone = [...this.#tunnels.values()].filter((former) => {
      const next = wanted.get(former.tunnel.name);
      return next === undefined || !isSameTunnel(next, former);
    });
    for (const { tunnel } of gone) {
      this.#tunnels.delete(tunnel.name);
      if (tunnel.kernel !== null) this.#left.add(tunnel.kernel.requestId);
    }
    if (gone.length > 0) await this.#remove();
    for (const { tunnel } of tunnels) {
      if (tunnel.kernel !== null) this.#left.delete(tunnel.kernel.requestId);
    }
    this.#tunnels = wanted;
    if (wanted.size === 0) return this.#end();
    this.#daemon ??= this.#start();
    this.#want();
  }

  /**
   * Removes what tunnels that are gone have left in the kernel; nothing is done if that is nothing. Before it resolves, neither
   * their interfaces nor the guard may go.
   *
   * @throws Error if something stays, or the kernel cannot be asked
   */
  async clear(): Promise<void> {
    const ids = new Set(this.#left);
    if (ids.size === 0) return;
    await removeSas(this.#options.run, (id) => ids.has(id));
    for (const id of ids) this.#left.delete(id);
  }

  status(tunnel: string): IpsecTunnelStatus | undefined {
    return this.#daemon?.reconciler.status(tunnel);
  }

  details(tunnel: string): IpsecDetails | undefined {
    return this.#daemon?.reconciler.details(tunnel);
  }

  /** @throws Error as {@link clear} */
  async stop(): Promise<void> {
    await this.apply([]);
    await this.clear();
  }

  #want(): void {
    const tunnels = [...this.#tunnels.values()].map((tunnel) =>
      typeof tunnel.path === 'string' ? { ...tunnel, obstacle: tunnel.path } : tunnel,
    );
    this.#daemon?.reconciler.want(tunnels);
  }

  /** The daemon forgets them, and so does the kernel, should the daemon not be there. */
  async #remove(): Promise<void> {
    this.#want();
    // With the last of them the daemon goes, too, if it is ours.
    if (this.#tunnels.size > 0 || this.#daemon?.charon === undefined)
      await this.#daemon?.reconciler.settled();
    else await this.#end();
    await this.#clearOrTell();
  }

  async #clearOrTell(): Promise<void> {
    await this.clear().catch((error: Error) => this.#options.log('error', {}, error.message));
  }

  #start(): Daemon {
    const { daemonSocket, directory, log, onState } = this.#options;
    if (daemonSocket !== null) {
      const reconciler = new Reconciler({
        socketPath: daemonSocket,
        log,
        attemptsAtATime: HOST_ATTEMPTS,
        absence: `no IKE daemon answers at ${daemonSocket} (ipsec.daemon.socket)`,
        onState,
      });
      reconciler.start();
      return { charon: undefined, reconciler, watch: this.#watch(reconciler) };
    }
    const charon = new Charon({
      directory: join(directory, 'kernel'),
      command: [],
      userSpace: false,
      label: '',
      log,
      prepare: () => this.#prepare(),
      attach: async () => {},
      onRunning: () => {
        this.#told = undefined;
        reconciler.hurry();
      },
      onDown: (reason) => {
        if (reason !== this.#told) log('warn', {}, reason);
        this.#told = reason;
        reconciler.down(reason);
      },
    });
    const reconciler = new Reconciler({
      socketPath: charon.socketPath,
      log,
      attemptsAtATime: OWN_ATTEMPTS,
      onState,
      onSilent: () => charon.restart('the IKE daemon did not answer any more'),
      onReconciled: () => releasePeers(this.#options.run),
    });
    charon.start();
    reconciler.start();
    return { charon, reconciler, watch: this.#watch(reconciler) };
  }

  #watch(reconciler: Reconciler): KernelWatch {
    const { run, log } = this.#options;
    const watch = new KernelWatch({
      list: () => listSas(run),
      tunnels: () => [...this.#tunnels.values()].map(({ tunnel }) => tunnel),
      reconciler,
      log,
    });
    watch.start();
    return watch;
  }

  /** Before each start of our daemon: it would not know what another one has left. */
  async #prepare(): Promise<void> {
    const port = IKE_PORTS.find((candidate) => isUdpPortTaken(candidate));
    if (port !== undefined) {
      throw new Error(
        `another program has UDP port ${port}, an IKE daemon of the host's perhaps; stop it, or write its VICI socket as ipsec.daemon.socket`,
      );
    }
    await removeSas(this.#options.run);
    await holdPeers(
      this.#options.run,
      [...this.#tunnels.values()].map(({ tunnel }) => tunnel),
    );
  }

  async #end(): Promise<void> {
    const daemon = this.#daemon;
    this.#daemon = undefined;
    if (daemon === undefined) return;
    daemon.watch.stop();
    if (daemon.charon === undefined) await daemon.reconciler.settled();
    daemon.reconciler.stop();
    if (daemon.charon === undefined) return;
    await daemon.charon.stop();
    await releasePeers(this.#options.run).catch((error: Error) =>
      this.#options.log('warn', {}, `peers are still held off: ${error.message}`),
    );
  }
}

/**
 * Takes away what a process has left that was killed, and that nobody looks after any more.
 *
 * @param daemonSocket VICI socket of the host's daemon, if it was used
 * @throws Error if SAs are there all the same, or it cannot be told
 */
export async function removeKernelLeftovers(
  { run, log }: Pick<IpsecDriverOptions, 'run' | 'log'>,
  daemonSocket: string | null,
): Promise<void> {
  if (daemonSocket !== null) {
    // With nothing wanted, it unloads all of ours.
    const reconciler = new Reconciler({
      socketPath: daemonSocket,
      log,
      attemptsAtATime: HOST_ATTEMPTS,
      onState: () => {},
    });
    reconciler.start();
    await reconciler.connected(RELEASE_TIMEOUT_MS);
    reconciler.stop();
  }
  await removeSas(run);
  await releasePeers(run);
}

/** Whether a socket of this network namespace has it, whatever the address. */
function isUdpPortTaken(port: number): boolean {
  const local = new RegExp(`^ *\\d+: [0-9A-F]+:${port.toString(16).toUpperCase().padStart(4, '0')} `, 'm');
  return ['udp', 'udp6'].some((file) => {
    try {
      return local.test(readFileSync(`/proc/self/net/${file}`, 'latin1'));
    } catch {
      return false;
    }
  });
}
