/**
 * Counters in the flow memory: per port, per port and drop reason, and for the whole gateway.
 *
 * The data plane counts; the control process reads the same memory. Every counter is one aligned float64 with
 * one writer, so a reader sees a whole value, at worst a moment old. Counters survive a restart of the data
 * plane as the flows do.
 *
 * ```
 *  float64 0                 64              144             224
 *  +------------------------+---------------+---------------+----- ... one block a port
 *  | gateway-wide, 64       | port 0        | port 1        |
 *  +------------------------+---------------+---------------+-----
 *                            block: 16 of the port (`PORT_...`), then 64 drop reasons
 * ```
 *
 * Port 0 is no port: what cannot be attributed is counted there. Neighbours: `flow/flow-memory.ts` gives the
 * section; the drop reasons' numbers are those of `plugin/drop-reasons.ts`.
 */

/** Ports that have counters of their own, port 0 (none) included. */
export const COUNTED_PORTS = 1024;
/** Room for drop reasons. */
export const COUNTED_REASONS = 64;

const GLOBAL_ROOM = 64;
const PORT_ROOM = 16;
const BLOCK = PORT_ROOM + COUNTED_REASONS;

/** Bytes of the counters section; a multiple of 64. */
export const COUNTERS_BYTES = (GLOBAL_ROOM + COUNTED_PORTS * BLOCK) * 8;

/** Packets that came in by the port. */
export const PORT_PACKETS_IN = 0;
/** Bytes (IP length) that came in by the port. */
export const PORT_BYTES_IN = 1;
/** Packets that left by the port. */
export const PORT_PACKETS_OUT = 2;
/** Bytes (IP length) that left by the port. */
export const PORT_BYTES_OUT = 3;
/** Flows whose first packet came in by the port. */
export const PORT_FLOWS_CREATED = 4;
/** Flows whose originator comes in by the port now: a gauge, kept by `flow/budgets.ts`. */
export const PORT_FLOWS_LIVE = 5;
/** Flows whose originator changed over to this port from another one of its site. */
export const PORT_REPINS = 6;

/** Names of the per-port counters, by number. */
export const PORT_COUNTER_NAMES = [
  'packets_in',
  'bytes_in',
  'packets_out',
  'bytes_out',
  'flows_created',
  'flows_live',
  'repins',
] as const;

const globalNames = [
  'flows_created',
  'flows_closed',
  'flows_timed_out',
  'flows_flushed',
  'flows_reopened',
  'flows_restored',
  'flows_discarded',
  'repins',
  'plans_applied',
  'icmp_errors_sent',
  'tcp_resets_sent',
  'echo_replies_sent',
  'fragments_received',
  'datagrams_reassembled',
  'packets_fragmented',
  'plugin_failures',
] as const;

export type GlobalCounterName = (typeof globalNames)[number];

/** Names of the gateway-wide counters, by number. Append only: numbers are stored. */
export const GLOBAL_COUNTER_NAMES: readonly GlobalCounterName[] = globalNames;

/** Numbers of the gateway-wide counters by name: `COUNTER.flows_created`. */
export const COUNTER = Object.freeze(
  Object.fromEntries(globalNames.map((name, number) => [name, number])),
) as Readonly<Record<GlobalCounterName, number>>;

/** Typed access to the counters section. Of several objects over one section only the data plane's may write. */
export class Counters {
  /** The whole section. */
  readonly values: Float64Array;

  /** Takes the section (`FlowMemory.counters`); changes nothing in it. */
  constructor(section: Float64Array) {
    if (section.byteLength < COUNTERS_BYTES) {
      throw new RangeError(`counters need ${COUNTERS_BYTES} bytes, not ${section.byteLength}`);
    }
    this.values = section;
  }

  /** Counts a packet that came in by a port. */
  countIn(port: number, lengthBytes: number): void {
    const at = blockOf(port);
    this.values[at + PORT_PACKETS_IN]! += 1;
    this.values[at + PORT_BYTES_IN]! += lengthBytes;
  }

  /** Counts a packet that left by a port. */
  countOut(port: number, lengthBytes: number): void {
    const at = blockOf(port);
    this.values[at + PORT_PACKETS_OUT]! += 1;
    this.values[at + PORT_BYTES_OUT]! += lengthBytes;
  }

  /** Counts a dropped packet; `reason` is a number of `plugin/drop-reasons.ts`. */
  countDrop(port: number, reason: number): void {
    const number = reason >>> 0 < COUNTED_REASONS ? reason : 0;
    this.values[blockOf(port) + PORT_ROOM + number]! += 1;
  }

  /** Adds to one of a port's counters (`PORT_...`); negative amounts are for gauges. */
  addPort(port: number, counter: number, amount: number): void {
    this.values[blockOf(port) + counter]! += amount;
  }

  /** Sets one of a port's gauges. */
  setPort(port: number, counter: number, value: number): void {
    this.values[blockOf(port) + counter] = value;
  }

  /** Adds to a gateway-wide counter (`COUNTER.name`). */
  add(counter: number, amount: number): void {
    this.values[counter]! += amount;
  }

  /** One of a port's counters (`PORT_...`). */
  port(port: number, counter: number): number {
    return this.values[blockOf(port) + counter]!;
  }

  /** Packets dropped at a port for a reason. */
  drops(port: number, reason: number): number {
    return this.values[blockOf(port) + PORT_ROOM + reason]!;
  }

  /** Packets dropped for a reason, over all ports. */
  dropsOfReason(reason: number): number {
    let sum = 0;
    for (let port = 0; port < COUNTED_PORTS; port++) sum += this.drops(port, reason);
    return sum;
  }

  /** A gateway-wide counter (`COUNTER.name`). */
  global(counter: number): number {
    return this.values[counter]!;
  }

  /** Zeroes a port's counters: its slot now means another tunnel. */
  clearPort(port: number): void {
    const at = blockOf(port);
    this.values.fill(0, at, at + BLOCK);
  }
}

/** Where a port's block begins, in float64s. */
function blockOf(port: number): number {
  return GLOBAL_ROOM + (port >>> 0 < COUNTED_PORTS ? port : 0) * BLOCK;
}
