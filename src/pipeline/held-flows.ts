/**
 * New flows that wait for a plugin's control half to decide on them: a copy of each one's first packet, and how far the
 * chain has judged it.
 *
 * ```
 *   flowSetup answers hold ──► a copy waits here ──► decide(token, verdict) ──► goes on behind that plugin
 *                                    │
 *                                    ├──► its time is up ──► the same, by the plugin's default; counted as a time-out
 *                                    └──► another list of plugins ──► dropped
 * ```
 *
 * Bounded for each plugin, shared by the sites (`flow/site-shares.ts`), and in all: in places, of which a long packet takes
 * several. Holding a packet allocates: it waits for another process, and
 * that is no fast path. Further packets of the same tuple are dropped meanwhile: who sends them sends them again.
 *
 * Neighbours: `flow-setup.ts` (asks for room), `held-stage.ts` (goes on), `plugin-recall.ts` (how far it was judged).
 */
import { SiteShares } from '../flow/site-shares.ts';
import { MAX_HOLD_MS } from '../plugin/contract.ts';
import { FRAME_PREFIX_BYTES } from '../wire/frame.ts';
import type { PacketView } from '../wire/packet.ts';
import type { Scratch } from './link/scratch.ts';
import type { FlowDraft } from './plugin-link.ts';
import type { JudgedSoFar } from './plugin-recall.ts';
import { tupleHash } from './tuple-hash.ts';

/** What a flow that waits takes for every so many bytes of its packet, and at least once. */
const PLACE_BYTES = 4096;
/** Places, in all and of one plugin. */
const MAX_PLACES = 1024;
const MAX_PLACES_OF_PLUGIN = 512;
/** Plugins there may be. */
const PLUGINS = 16;

/** A flow that waits. */
export interface HeldFlow {
  readonly token: number;
  /** Place of the plugin that holds it. */
  readonly place: number;
  readonly port: number;
  /** The port as it was: `PortTable.wordOf`. */
  readonly portWord: number;
  readonly space: number;
  /** The IP packet, as it came. */
  readonly packet: Uint8Array;
  readonly gsoType: number;
  readonly gsoSize: number;
  /** From the packet's first byte; -1 for none. */
  readonly checksumAt: number;
  readonly checksumOffset: number;
  /** Size of the largest fragment it came in, 0 if it came whole. */
  readonly fragmentLimit: number;
  readonly untilMs: number;
  readonly defaultVerdict: number;
  readonly judged: JudgedSoFar;
  readonly hash: number;
}

export class HeldFlows {
  /** Flows that wait. */
  count = 0;
  /** What the next flow that is held will be called. */
  nextToken: number;
  private places = 0;
  private readonly flowsOf = new Int32Array(PLUGINS);
  /** Of the plugins that have held a flow. */
  private readonly shares: (SiteShares | undefined)[] = [];
  private sites: readonly number[] = [];
  private readonly byToken = new Map<number, HeldFlow>();
  private readonly byHash = new Map<number, HeldFlow[]>();

  /** @param firstToken random: what was decided for a former data plane must not be taken for a flow of this one */
  constructor(firstToken: number) {
    this.nextToken = firstToken & 0x3fffffff;
  }

  /** Divides the places among the spaces of these sites. */
  configure(sites: readonly number[]): void {
    this.sites = sites;
    for (const shares of this.shares) shares?.configure(MAX_PLACES_OF_PLUGIN, sites);
  }

  /** How many flows the plugin at this place holds. */
  heldBy(place: number): number {
    return this.flowsOf[place]!;
  }

  /** Whether the packet belongs to a flow that waits. */
  has(view: PacketView, space: number): boolean {
    const same = this.byHash.get(hashOf(view, space));
    if (same === undefined) return false;
    for (const held of same) if (isOfFlow(held, view, space)) return true;
    return false;
  }

  /** Takes a copy of a flow's first packet. False if there is no room for it. */
  take(
    view: PacketView,
    draft: FlowDraft,
    portWord: number,
    fragmentLimit: number,
    judged: JudgedSoFar,
    nowMs: number,
  ): boolean {
    const { place } = judged;
    const bytes = view.length;
    const places = placesFor(bytes);
    if (this.places + places > MAX_PLACES) return false;
    if (!this.sharesOf(place).mayTake(draft.originatorSpace, places)) return false;
    const held: HeldFlow = {
      token: this.nextToken,
      place,
      port: draft.ingressPort,
      portWord,
      space: draft.originatorSpace,
      packet: view.bytes.slice(view.offset, view.offset + bytes),
      gsoType: view.gsoType,
      gsoSize: view.gsoSize,
      checksumAt: view.checksumStart === 0 ? -1 : view.checksumStart - view.offset,
      checksumOffset: view.checksumOffset,
      fragmentLimit,
      untilMs: (nowMs + holdTime(draft.holdMs)) | 0,
      defaultVerdict: draft.holdDefault,
      judged,
      hash: hashOf(view, draft.originatorSpace),
    };
    this.nextToken = (this.nextToken + 1) & 0x3fffffff;
    this.byToken.set(held.token, held);
    const same = this.byHash.get(held.hash);
    if (same === undefined) this.byHash.set(held.hash, [held]);
    else same.push(held);
    this.account(held, 1);
    return true;
  }

  /** Takes a flow out, which goes on now; undefined if it does not wait. */
  release(token: number): HeldFlow | undefined {
    const held = this.byToken.get(token);
    if (held === undefined) return undefined;
    this.byToken.delete(token);
    const same = this.byHash.get(held.hash)!;
    if (same.length === 1) this.byHash.delete(held.hash);
    else same.splice(same.indexOf(held), 1);
    this.account(held, -1);
    return held;
  }

  /** The place of the plugin that holds a flow; -1 if it does not wait. */
  placeOf(token: number): number {
    return this.byToken.get(token)?.place ?? -1;
  }

  /** Tokens of flows whose time is up, or of all of them. */
  due(nowMs: number, all = false): number[] {
    const tokens: number[] = [];
    for (const { token, untilMs } of this.byToken.values()) {
      if (all || ((nowMs - untilMs) | 0) >= 0) tokens.push(token);
    }
    return tokens;
  }

  private account(held: HeldFlow, sign: number): void {
    const places = sign * placesFor(held.packet.length);
    this.count += sign;
    this.places += places;
    this.flowsOf[held.place]! += sign;
    this.sharesOf(held.place).add(held.space, places);
  }

  private sharesOf(plugin: number): SiteShares {
    const known = this.shares[plugin];
    if (known !== undefined) return known;
    const shares = new SiteShares();
    shares.configure(MAX_PLACES_OF_PLUGIN, this.sites);
    this.shares[plugin] = shares;
    return shares;
  }
}

/**
 * Places a flow's packet in scratch memory again. Returns its offset there, -1 if there is no room; who decodes it then
 * calls {@link restoreOffloads}.
 */
export function placeHeld({ packet }: HeldFlow, scratch: Scratch): number {
  const frame = scratch.allocate(FRAME_PREFIX_BYTES + packet.length);
  if (frame < 0) return -1;
  scratch.memory.bytes.set(packet, frame + FRAME_PREFIX_BYTES);
  return frame + FRAME_PREFIX_BYTES;
}

/** What the packet's device had left to do for others. */
export function restoreOffloads(held: HeldFlow, view: PacketView): void {
  view.gsoType = held.gsoType;
  view.gsoSize = held.gsoSize;
  if (held.checksumAt < 0) return;
  view.checksumStart = view.offset + held.checksumAt;
  view.checksumOffset = held.checksumOffset;
}

function placesFor(bytes: number): number {
  return Math.ceil(bytes / PLACE_BYTES);
}

function holdTime(askedMs: number): number {
  return askedMs >= 1 && askedMs <= MAX_HOLD_MS ? askedMs : MAX_HOLD_MS;
}

/** Small enough to be a key that is no object. */
function hashOf(view: PacketView, space: number): number {
  return (tupleHash(view) ^ Math.imul(space, 0x9e3779b1)) & 0x3fffffff;
}

/** By the bytes that make the tuple: addresses, protocol, and what stands where ports do. */
function isOfFlow(held: HeldFlow, view: PacketView, space: number): boolean {
  const { packet, judged } = held;
  if (held.space !== space || judged.protocol !== view.protocol || judged.ports !== view.ports) return false;
  const isIpv4 = packet[0]! >> 4 === 4;
  if (isIpv4 !== (view.family === 4)) return false;
  const from = isIpv4 ? 12 : 8;
  const length = isIpv4 ? 8 : 32;
  for (let at = from; at < from + length; at++) if (packet[at] !== view.bytes[view.offset + at]) return false;
  return true;
}
