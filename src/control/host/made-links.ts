/**
 * Interfaces of the kernel's tunnels, which homeward makes and removes.
 *
 * ```
 *  absent ----> asked for ----> made, down          (`links.ts` sets it up when the guard has its hook)
 *                 |    ^
 *         refused |    | the pause is over: 5 s, 10 s, 20 s ... 10 min,
 *                 v    | or another change of the host is followed
 *               refused
 * ```
 *
 * The record is written before the change, and the number that an interface has got after it: by that it is known from then on. One
 * that somebody has renamed, or made anew under its name, is removed, and made as it was. What the kernel refuses is kept with its words, for the compiler, until the
 * pause is over: what was in the way may have gone.
 *
 * Neighbours: `links.ts` (the owner), `kernel-links.ts` (what `ip link add` is told), `host-record.ts`.
 */
import type { HostSetup } from '../compile/host-setup.ts';
import type { HostRecord } from './host-record.ts';
import type { MadeLink } from './host-state.ts';
import { attemptBatch, ipBatch, type ShownLink, showLinks } from './ip-batch.ts';
import { linkArguments, linkEnds } from './kernel-links.ts';
import { removeXfrmRules } from './xfrm-routes.ts';

/** Until the kernel is asked again for what it has refused; twice as long after every refusal. */
const FIRST_PAUSE_MS = 5000;
const LONGEST_PAUSE_MS = 600_000;

interface Refusal {
  /** What the kernel said. */
  readonly why: string;
  readonly pauseMs: number;
  /** When the pause is over, on the clock of `now`. */
  readonly untilMs: number;
}

interface WantedLink extends MadeLink {
  readonly mtu: number;
}

export class MadeLinks {
  readonly #record: HostRecord;
  readonly #now: () => number;
  readonly #refusals = new Map<string, Refusal>();

  /** @param now milliseconds of a clock that only goes forward */
  constructor(record: HostRecord, now: () => number = () => performance.now()) {
    this.#record = record;
    this.#now = now;
  }

  /** Those that the kernel would not make and is not to be asked for yet, by name: what it said. */
  get refused(): Readonly<Record<string, string>> {
    const waiting = [...this.#refusals].filter(([, { untilMs }]) => untilMs > this.#now());
    return Object.fromEntries(waiting.map(([name, { why }]) => [name, why]));
  }

  /** Milliseconds until the kernel is to be asked again; undefined: it has refused nothing. */
  get retryInMs(): number | undefined {
    const times = [...this.#refusals.values()].map(({ untilMs }) => untilMs);
    return times.length === 0 ? undefined : Math.max(0, Math.min(...times) - this.#now());
  }

  /**
   * Makes those that the set-up needs and are not there, down.
   *
   * @returns whether anything is new: one was made, or {@link refused} says something else.
   * @throws CommandError
   */
  async make(setup: HostSetup, present: ReadonlyMap<string, ShownLink>): Promise<boolean> {
    const wanted = setup.devices.flatMap((device): WantedLink[] => {
      if (device.role !== 'exclusive' || device.made === undefined) return [];
      const { link, underlay, requestId } = device.made;
      const tunnel = { link, underlay, requestId };
      return [
        {
          name: device.name,
          mtu: device.mtu,
          ifindex: 0,
          arguments: linkArguments(link),
          ends: linkEnds(link),
          tunnel,
        },
      ];
    });
    this.#forget(wanted);
    const known = this.#record.state.madeLinks;
    const missing = wanted.filter(
      (link) =>
        !known.some(
          (other) =>
            other.name === link.name &&
            other.arguments === link.arguments &&
            presentName(other, present) === link.name,
        ),
    );
    // What has the name, left by a run whose files are gone, or is ours under another name or with the same ends: the
    // kernel takes one.
    const inTheWay = [
      ...missing.flatMap(({ name }) => (present.has(name) ? [name] : [])),
      ...known
        .filter((old) => missing.some(({ name, ends }) => name === old.name || ends === old.ends))
        .flatMap((old) => presentName(old, present) ?? []),
    ];
    await this.#deleteNames([...new Set(inTheWay)]);
    const replaced = known.filter((old) =>
      missing.some(({ name, ends }) => name === old.name || ends === old.ends),
    );
    await removeXfrmRules(replaced.filter(isXfrm).map(({ name }) => name));
    const isMissing = new Set(missing.map(({ name }) => name));
    this.#record.change({
      madeLinks: [
        ...known
          .filter((old) => !replaced.includes(old))
          .map((old) => ({
            ...old,
            ifindex: old.ifindex === 0 ? (present.get(old.name)?.ifindex ?? 0) : old.ifindex,
            tunnel: wanted.find(({ name }) => name === old.name)?.tunnel ?? old.tunnel,
          })),
        ...missing.map(({ mtu: _, ...link }) => link),
      ],
    });
    const changed = await this.#add(missing);
    // Without addresses of its own, which it would look for neighbours by. It is refused with the interface, if it is.
    await ipBatch(
      missing.filter(isXfrm).map(({ name }) => `link set dev ${name} addrgenmode none`),
      { mayFail: true },
    );
    await ipBatch(
      wanted
        .filter(({ name, mtu }) => !isMissing.has(name) && present.get(name)?.mtu !== mtu)
        .map(({ name, mtu }) => `link set dev ${name} mtu ${mtu}`),
    );
    return changed || inTheWay.length > 0;
  }

  /** One that the kernel refuses keeps no other from being made. Whether anything is new. */
  async #add(links: readonly WantedLink[]): Promise<boolean> {
    const refusedBefore = this.refused;
    const refusals = await attemptBatch(
      links.map(({ name, mtu, arguments: text }) => `link add name ${name} mtu ${mtu} ${text}`),
    );
    for (const [at, { name }] of links.entries()) this.#note(name, refusals.get(at));
    const refused = new Set([...refusals.keys()].map((at) => links[at]!.name));
    const made = new Set(links.map(({ name }) => name).filter((name) => !refused.has(name)));
    const present = made.size === 0 ? undefined : await showLinks();
    this.#record.change({
      madeLinks: this.#record.state.madeLinks
        .filter(({ name }) => !refused.has(name))
        .map((link) =>
          made.has(link.name) ? { ...link, ifindex: present?.get(link.name)?.ifindex ?? 0 } : link,
        ),
    });
    return links.some(({ name }, at) => !refusals.has(at) || refusals.get(at) !== refusedBefore[name]);
  }

  #note(name: string, why: string | undefined): void {
    const former = this.#refusals.get(name);
    if (why === undefined) {
      this.#refusals.delete(name);
      return;
    }
    const now = this.#now();
    // An attempt before the time, because the host has changed, makes no pause longer.
    const isEarly = former !== undefined && former.untilMs > now;
    const pauseMs =
      former === undefined
        ? FIRST_PAUSE_MS
        : isEarly
          ? former.pauseMs
          : Math.min(2 * former.pauseMs, LONGEST_PAUSE_MS);
    this.#refusals.set(name, { why, pauseMs, untilMs: isEarly ? former.untilMs : now + pauseMs });
  }

  /** What nobody wants any more when its pause is over is not asked for again. */
  #forget(wanted: readonly WantedLink[]): void {
    const names = new Set(wanted.map(({ name }) => name));
    for (const [name, { untilMs }] of this.#refusals) {
      if (untilMs <= this.#now() && !names.has(name)) this.#refusals.delete(name);
    }
  }

  /** @throws Error if one is there all the same; it stays in the record, to be tried again. */
  async delete(links: readonly MadeLink[]): Promise<void> {
    if (links.length === 0) return;
    const names = (present: ReadonlyMap<string, ShownLink>): string[] =>
      links.flatMap((link) => presentName(link, present) ?? []);
    await this.#deleteNames(names(await showLinks()));
    await removeXfrmRules(links.filter(isXfrm).map(({ name }) => name));
    const present = await showLinks();
    const gone = links.filter((link) => presentName(link, present) === undefined).map(({ name }) => name);
    this.#record.change({
      madeLinks: this.#record.state.madeLinks.filter(({ name }) => !gone.includes(name)),
    });
    const left = names(present);
    if (left.length > 0) throw new Error(`the kernel does not remove ${left.join(', ')}`);
  }

  /** One that is gone already was deleted by somebody else. */
  async #deleteNames(names: readonly string[]): Promise<void> {
    await ipBatch(
      names.map((name) => `link del dev ${name}`),
      { mayFail: true },
    );
  }
}

/** The name that an interface of ours has now; undefined: it is not there. */
function presentName(
  { name, ifindex }: Pick<MadeLink, 'name' | 'ifindex'>,
  present: ReadonlyMap<string, ShownLink>,
): string | undefined {
  if (ifindex === 0) return present.has(name) ? name : undefined;
  return [...present.values()].find((link) => link.ifindex === ifindex)?.ifname;
}

/** Whether a link is an XFRM interface, which SAs may lead into. */
export function isXfrm({ arguments: text }: MadeLink): boolean {
  return text.startsWith('type xfrm ');
}
