/**
 * Budgets of flow creation: how many flows a port and a site may have, and how fast flows may be made per port and
 * per source address.
 *
 * Half of the table is divided equally among the sites (`site-shares.ts`): a site's flows are those that begin in it.
 * A share of the table for each port bounds what is lost with one tunnel; it does not keep several tunnels of
 * one site, or several sites, from filling the table together.
 *
 * Rates are token buckets that hold one second's worth: a burst of as many flows as the rate says, and that rate
 * from then on. A bucket is two int32: what has been spent and not earned back yet, in thousandths of a flow, and
 * when that was reckoned. At `rate` flows a second a bucket earns `rate` thousandths a millisecond, so integers
 * do. A bucket of zeros is a full one.
 *
 * Sources have no memory of their own: address space and address hash to one of {@link SOURCE_BUCKETS} buckets.
 * Sources that share a bucket share its rate, so a collision makes the budget stricter and never looser; the
 * hash is seeded, so nobody chooses whom to collide with. A sender that changes its address is bounded by its
 * port's rate and share.
 *
 * Behind a diversion's port there are all sites at once, each by one source address that stands for all its hosts. There a
 * rate is each site's: that of a port, in a bucket of its own; and what one may have is divided among the sites only.
 *
 * Buckets live in the heap and begin full after a restart; the counts of live flows are the gauge
 * `PORT_FLOWS_LIVE` of `flow/counters.ts`, counted anew from the table ({@link Budgets.rebuild}). A flow counts
 * at the port by which its originator comes in now (`SHARED_INGRESS`), and for the site that it comes from.
 * Neighbours: `flow/table.ts`; the pipeline maps the `BUDGET_...` answers to drop reasons.
 */
import { IPV4, type PacketView } from '../wire/packet.ts';
import { COUNTED_PORTS, type Counters, PORT_FLOWS_CREATED, PORT_FLOWS_LIVE } from './counters.ts';
import { hash4, hash10 } from './hash.ts';
import { KEY_META, RECORD_WORDS, SHARED_INGRESS } from './layout.ts';
import { SiteShares, SPACES } from './site-shares.ts';
import type { FlowTable } from './table.ts';

/** The flow may be made. */
export const BUDGET_OK = 0;
/** The port has as many flows as it may have. */
export const BUDGET_SHARE = 1;
/** Flows are made too fast at this port. */
export const BUDGET_PORT_RATE = 2;
/** Flows are made too fast by this source. */
export const BUDGET_SOURCE_RATE = 3;
/** What is left of the table is owed to other sites. */
export const BUDGET_SITE_SHARE = 4;

/** Buckets that sources share; a power of two. */
export const SOURCE_BUCKETS = 65536;

/** Rates above this are taken as this: thousandths of two seconds' worth must fit an int32. */
const MAX_RATE_PER_SECOND = 1_000_000;
const BUCKET_MS = 1000;
/** One flow, in thousandths. */
const FLOW_COST = 1000;

const SPENT = 0;
const RECKONED_MS = 1;

/** What a port and a source may do. 0 stands for no limit. */
export interface BudgetLimits {
  /** Most live flows of one port. */
  readonly flowsPerPort: number;
  /** Flows per second at one port, sustained and as a burst. */
  readonly ratePerPort: number;
  /** Flows per second from one source address of one space, sustained and as a burst. */
  readonly ratePerSource: number;
  /** Records that are divided among the sites: the table's. */
  readonly flows: number;
  /** Spaces of the sites. */
  readonly sites: readonly number[];
  /** Ports behind which there are all sites: diversions. */
  readonly sharedPorts: readonly number[];
}

export class Budgets {
  private readonly counters: Counters;
  private readonly seed: number;
  private readonly multiplier: number;
  private readonly portBuckets = new Int32Array(COUNTED_PORTS * 2);
  private readonly sourceBuckets = new Int32Array(SOURCE_BUCKETS * 2);
  /** By space: what sites have spent at shared ports. */
  private readonly siteBuckets = new Int32Array(SPACES * 2);
  private readonly isShared = new Uint8Array(COUNTED_PORTS);
  private readonly shares = new SiteShares();
  private flowsPerPort = 0;
  private ratePerPort = 0;
  private ratePerSource = 0;

  /** Without limits until {@link configure}. The seed is two words nobody outside knows: the flow memory's. */
  constructor(counters: Counters, seed0: number, seed1: number) {
    this.counters = counters;
    this.seed = seed0;
    this.multiplier = seed1 | 1;
  }

  /** Takes new limits. What has been spent stays spent. Throws a RangeError for a limit that cannot be. */
  configure(limits: BudgetLimits): void {
    const { flowsPerPort, ratePerPort, ratePerSource, flows } = limits;
    for (const [name, value] of Object.entries({ flowsPerPort, ratePerPort, ratePerSource, flows })) {
      if (!Number.isFinite(value) || value < 0) throw new RangeError(`${name} cannot be ${value}`);
    }
    this.shares.configure(flows, limits.sites);
    this.isShared.fill(0);
    for (const port of limits.sharedPorts) this.isShared[slotOf(port)] = 1;
    this.flowsPerPort = limits.flowsPerPort;
    this.ratePerPort = Math.min(Math.ceil(limits.ratePerPort), MAX_RATE_PER_SECOND);
    this.ratePerSource = Math.min(Math.ceil(limits.ratePerSource), MAX_RATE_PER_SECOND);
  }

  /**
   * Whether a flow that begins with this packet, which came in by `port` from `space`, may be made. Charges nothing:
   * {@link charge} does. The flow counts once {@link flowCreated} is called.
   */
  mayCreate(port: number, space: number, view: PacketView, nowMs: number): number {
    const room = this.mayHave(port, space);
    if (room !== BUDGET_OK) return room;
    if (this.isShared[slotOf(port)] !== 0) {
      const may = canSpend(this.siteBuckets, space * 2, this.ratePerPort, nowMs);
      return may ? BUDGET_OK : BUDGET_PORT_RATE;
    }
    const sourceAt = this.sourceBucket(space, view) * 2;
    if (!canSpend(this.sourceBuckets, sourceAt, this.ratePerSource, nowMs)) return BUDGET_SOURCE_RATE;
    if (!canSpend(this.portBuckets, slotOf(port) * 2, this.ratePerPort, nowMs)) return BUDGET_PORT_RATE;
    return BUDGET_OK;
  }

  /** Whether a flow for which {@link charge} was called some time ago may still be made. */
  mayHave(port: number, space: number): number {
    const isBounded = this.flowsPerPort !== 0 && this.isShared[slotOf(port)] === 0;
    if (isBounded && this.liveFlows(port) >= this.flowsPerPort) return BUDGET_SHARE;
    return this.shares.mayTake(space) ? BUDGET_OK : BUDGET_SITE_SHARE;
  }

  /** Charges the rates of port and source for a flow that {@link mayCreate} has just allowed. */
  charge(port: number, space: number, view: PacketView): void {
    if (this.isShared[slotOf(port)] !== 0) {
      this.siteBuckets[space * 2 + SPENT]! += FLOW_COST;
      return;
    }
    this.sourceBuckets[this.sourceBucket(space, view) * 2 + SPENT]! += FLOW_COST;
    this.portBuckets[slotOf(port) * 2 + SPENT]! += FLOW_COST;
  }

  /** A flow from `space` was made at a port. */
  flowCreated(port: number, space: number): void {
    this.counters.addPort(port, PORT_FLOWS_CREATED, 1);
    this.counters.addPort(port, PORT_FLOWS_LIVE, 1);
    this.shares.add(space, 1);
  }

  /** A flow from `space`, of a port (its present ingress), has ended. */
  flowEnded(port: number, space: number): void {
    this.counters.addPort(port, PORT_FLOWS_LIVE, -1);
    this.shares.add(space, -1);
  }

  /** A flow's originator comes in by another port now. The share of that port is not asked: the flow exists. */
  flowMoved(from: number, to: number): void {
    this.counters.addPort(from, PORT_FLOWS_LIVE, -1);
    this.counters.addPort(to, PORT_FLOWS_LIVE, 1);
  }

  /** Live flows of a port. */
  liveFlows(port: number): number {
    return this.counters.port(port, PORT_FLOWS_LIVE);
  }

  /** Counts the live flows of all ports and sites anew, from the table: at start. */
  rebuild(table: FlowTable): void {
    for (let port = 0; port < COUNTED_PORTS; port++) this.counters.setPort(port, PORT_FLOWS_LIVE, 0);
    this.shares.clear();
    for (let record = table.next(-1); record >= 0; record = table.next(record)) {
      const base = record * RECORD_WORDS;
      this.counters.addPort(table.words[base + SHARED_INGRESS]! & 0xffff, PORT_FLOWS_LIVE, 1);
      this.shares.add(table.words[base + KEY_META]! >>> 16, 1);
    }
  }

  /** The bucket of a packet's source in its space. */
  private sourceBucket(space: number, view: PacketView): number {
    const hash =
      view.family === IPV4
        ? hash4(this.seed, this.multiplier, view.src3, space, 0, 0)
        : hash10(
            this.seed,
            this.multiplier,
            view.src0,
            view.src1,
            view.src2,
            view.src3,
            space,
            0,
            0,
            0,
            0,
            0,
          );
    return hash & (SOURCE_BUCKETS - 1);
  }
}

/** A port's bucket; what has no place of its own shares that of port 0. */
function slotOf(port: number): number {
  return port >>> 0 < COUNTED_PORTS ? port : 0;
}

/** Brings a bucket up to date and says whether it has a flow left. */
function canSpend(buckets: Int32Array, at: number, rate: number, nowMs: number): boolean {
  const reckonedMs = buckets[at + RECKONED_MS]!;
  let elapsedMs = (nowMs - reckonedMs) | 0;
  // Negative: more than 24 days ago. A bucket is full after one second, however long it was left alone.
  if (elapsedMs < 0 || elapsedMs > BUCKET_MS) elapsedMs = BUCKET_MS;
  const capacity = rate * BUCKET_MS;
  const spent = Math.max(0, Math.min(buckets[at + SPENT]!, capacity) - elapsedMs * rate);
  buckets[at + SPENT] = spent;
  buckets[at + RECKONED_MS] = nowMs;
  return rate === 0 || spent + FLOW_COST <= capacity;
}
