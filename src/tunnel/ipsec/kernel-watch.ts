/**
 * Compares the SAs that the daemon believes in with those that the kernel has. Somebody may have flushed them: the daemon does not
 * notice, says that the tunnel is up, and nothing passes until the peer is missed; without policies, for ever.
 *
 * ```
 *  every 5 s: the kernel is asked, then the daemon
 *     all of a tunnel's inbound SAs, all of its outbound ones, or policies of a direction are not there
 *       ── a second later again: the same ones are not there ──► SAs and policies are made anew
 * ```
 *
 * While an SA is rekeyed, one of two may be on its way in or out: a tunnel has lost its SAs when no SA of a direction is there, and
 * those that are missing have to be the same twice.
 *
 * Neighbours: `kernel-host.ts` (asks the kernel), `reconciler.ts` (asks the daemon), `kernel.ts` (the owner).
 */
import type { IkeSa } from '../../vici/views.ts';
import { CHILD_NAME, type IpsecTunnel } from './connection.ts';
import type { IpsecLog } from './host-tools.ts';
import type { KernelSas } from './kernel-host.ts';
import type { Reconciler } from './reconciler.ts';
import { carrierOf } from './sa-judgement.ts';

const LOOK_MS = 5_000;
/** Between a suspicion and the look that confirms it. */
const CONFIRM_MS = 1_000;

export interface KernelWatchOptions {
  /** undefined: there is nothing to compare with. Rejects if the kernel cannot be asked. */
  readonly list: () => Promise<KernelSas | undefined>;
  readonly tunnels: () => Iterable<IpsecTunnel>;
  readonly reconciler: Pick<Reconciler, 'details' | 'look' | 'makeAnew' | 'status'>;
  readonly log: IpsecLog;
  /** Default: 5 s. */
  readonly lookMs?: number;
  /** Default: 1 s. */
  readonly confirmMs?: number;
}

export class KernelWatch {
  readonly #options: KernelWatchOptions;
  /** What was missing at the last look, by tunnel. */
  #missing: ReadonlyMap<string, string> = new Map();
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;
  /** Why the kernel could not be asked, as it was last logged. */
  #told: string | undefined;

  constructor(options: KernelWatchOptions) {
    this.#options = options;
  }

  start(): void {
    if (this.#stopped) return;
    const { lookMs = LOOK_MS, confirmMs = CONFIRM_MS } = this.#options;
    const delayMs = this.#missing.size > 0 ? confirmMs : lookMs;
    this.#timer = setTimeout(() => {
      void this.#look().then(() => this.start());
    }, delayMs).unref();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  async #look(): Promise<void> {
    const { list, log, reconciler, tunnels } = this.#options;
    const former = this.#missing;
    this.#missing = new Map();
    try {
      const there = await list();
      if (there === undefined) return;
      // Behind the kernel: what the daemon makes meanwhile is missing once, not twice.
      await reconciler.look();
      const missing = new Map<string, string>();
      for (const tunnel of tunnels()) {
        const lack = missingOf(tunnel, reconciler.details(tunnel.name)?.sas ?? [], there);
        if (lack === undefined) continue;
        if (former.get(tunnel.name) !== lack) missing.set(tunnel.name, lack);
        else await reconciler.makeAnew(tunnel.name, 'the kernel has lost its SAs, and it connects anew');
      }
      this.#missing = missing;
      this.#told = undefined;
    } catch (error) {
      const { message } = error as Error;
      if (message !== this.#told) log('warn', {}, `SAs cannot be compared with the kernel's: ${message}`);
      this.#told = message;
    }
  }
}

/** What of an up tunnel the kernel does not have, as one text; undefined: nothing that matters. */
export function missingOf(
  tunnel: IpsecTunnel,
  sas: readonly IkeSa[],
  { states, policies }: KernelSas,
): string | undefined {
  const { kernel } = tunnel;
  if (kernel === null || carrierOf(tunnel, sas) === undefined) return undefined;
  const there = new Set(states.flatMap(({ id, spi }) => (id === kernel.requestId ? [Number(spi)] : [])));
  const children = sas
    .flatMap((sa) => sa.children)
    .filter(({ name, spiIn, spiOut }) => name === CHILD_NAME && spiIn !== undefined && spiOut !== undefined);
  // Of one that it is just updating, the daemon tells no SPIs.
  if (children.length === 0) return undefined;
  const isThere = (spi: string | undefined): boolean => there.has(Number.parseInt(spi ?? '', 16));
  const lost = [
    children.some(({ spiIn }) => isThere(spiIn)) ? [] : children.map(({ spiIn }) => `in ${spiIn}`),
    children.some(({ spiOut }) => isThere(spiOut)) ? [] : children.map(({ spiOut }) => `out ${spiOut}`),
    ['in', 'out'].filter(
      (direction) => !policies.some((one) => one.id === kernel.requestId && one.direction === direction),
    ),
  ].flat();
  return lost.length === 0 ? undefined : lost.join(', ');
}
