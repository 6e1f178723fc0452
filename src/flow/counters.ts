/**
 * Counters in the flow memory: per port, per port and drop reason, and for the whole gateway; what became of
 * attempts to make flows, what plugins cost, what devices lost.
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
 *
 *  behind the ports
 *  +------------------------+------------------------+----------------------------+
 *  | creations, 64          | plugins, 16 x 8        | devices, 1024 x 2          |
 *  | [0] made, [n] refused  | by place in the chain, | by device number,          |
 *  | for drop reason n      | `PLUGIN_...`           | `DEVICE_...`               |
 *  +------------------------+------------------------+----------------------------+
 * ```
 *
 * Port 0 is no port: what cannot be attributed is counted there. Neighbours: `flow/flow-memory.ts` gives the
 * section; the drop reasons' numbers are those of `plugin/drop-reasons.ts`.
 */

/** Ports that have counters of their own, port 0 (none) included. */
export const COUNTED_PORTS = 1024;
/** Room for drop reasons. */
export const COUNTED_REASONS = 64;

/** Plugins that have counters of their own: as many as there may be. */
export const COUNTED_PLUGINS = 16;
/** Devices that have counters of their own: as many as there may be. */
export const COUNTED_DEVICES = 1024;

const GLOBAL_ROOM = 64;
const PORT_ROOM = 16;
const PLUGIN_ROOM = 8;
const DEVICE_ROOM = 2;
const BLOCK = PORT_ROOM + COUNTED_REASONS;
const CREATIONS_AT = GLOBAL_ROOM + COUNTED_PORTS * BLOCK;
const PLUGINS_AT = CREATIONS_AT + COUNTED_REASONS;
const DEVICES_AT = PLUGINS_AT + COUNTED_PLUGINS * PLUGIN_ROOM;

/** Bytes of the counters section; a multiple of 64. */
export const COUNTERS_BYTES = (DEVICES_AT + COUNTED_DEVICES * DEVICE_ROOM) * 8;

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
/** 1 while packets may leave by the port, else 0: a gauge, brought up to date once a second. */
export const PORT_UP = 7;
/** Replies that came in by the port and that nothing expects (`pipeline/strays.ts`). */
export const PORT_UNEXPECTED = 8;
/** Of those that were examined: a flow of another site or egress looks like them. */
export const PORT_FOREIGN = 9;
/** What is wrong with the port's next hops, as bits (`NEXT_HOP_...`): a gauge, brought up to date once a second. */
export const PORT_NEXT_HOPS = 10;
/**
 * No counter: the generation of the port that the others were counted for, 0 while nobody has said. It lies here
 * because the port may become another one while no data plane runs.
 */
const PORT_GENERATION = PORT_ROOM - 2;
/**
 * No counter, but kept beside them because it must outlive the data plane as they do: what a GRE tunnel sends next
 * (`pipeline/link/sent-sequence.ts`). The last of the port's room.
 */
export const PORT_SEQUENCE = PORT_ROOM - 1;

/** Names of the per-port counters, by number. */
export const PORT_COUNTER_NAMES = [
  'packets_in',
  'bytes_in',
  'packets_out',
  'bytes_out',
  'flows_created',
  'flows_live',
  'repins',
  'up',
  'unexpected',
  'foreign',
  'next_hops',
] as const;

/** The IPv4 next hop has been asked for its MAC, and nothing is known yet. For IPv6 shifted by {@link NEXT_HOP_BITS}. */
export const NEXT_HOP_ASKED = 1;
/** The IPv4 next hop was asked for its MAC, and does not answer. */
export const NEXT_HOP_SILENT = 2;
/** Bits of one address family. */
export const NEXT_HOP_BITS = 2;

/** Calls of a plugin's hooks. */
export const PLUGIN_CALLS = 0;
/** Time in them, milliseconds: estimated from one call in {@link PLUGIN_TIMED_CALLS}. */
export const PLUGIN_TIME_MS = 1;
/** Failures, whatever their cause. */
export const PLUGIN_FAILURES = 2;
/** Failures by cause: this one and the four behind it, in the order of `FAILURE_CAUSES` (`plugin/contract.ts`). */
export const PLUGIN_FAILURES_BY_CAUSE = 3;
/** One call in so many is timed; a power of two. */
export const PLUGIN_TIMED_CALLS = 32;

/** Frames that a device did not take. */
export const DEVICE_SEND_ERRORS = 0;
/** Frames that could not be received. */
export const DEVICE_RECEIVE_ERRORS = 1;

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
  'bursts',
  'busy_ms',
  'stream_conflicts',
  'stream_flows',
  'stream_bytes',
  'stream_bytes_limit',
  'stream_held_segments',
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

  /** Sets a gateway-wide gauge (`COUNTER.name`). */
  set(counter: number, value: number): void {
    this.values[counter] = value;
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

  /** Counts an attempt to make a flow: 0 for one that was made, else the drop reason of the refusal. */
  countCreation(reason: number): void {
    this.values[CREATIONS_AT + (reason & (COUNTED_REASONS - 1))]! += 1;
  }

  /** Flows made (0), or attempts refused for a drop reason. */
  creations(reason: number): number {
    return this.values[CREATIONS_AT + reason]!;
  }

  /** Adds to a counter (`PLUGIN_...`) of the plugin at this place of the chain; returns its new value. */
  addPlugin(plugin: number, counter: number, amount: number): number {
    const at = pluginAt(plugin) + counter;
    const value = this.values[at]! + amount;
    this.values[at] = value;
    return value;
  }

  /** A counter (`PLUGIN_...`) of the plugin at this place of the chain. */
  plugin(plugin: number, counter: number): number {
    return this.values[pluginAt(plugin) + counter]!;
  }

  /** Zeroes all plugins' counters: the places mean other plugins now. */
  clearPlugins(): void {
    this.values.fill(0, PLUGINS_AT, DEVICES_AT);
  }

  /** Sets a counter (`DEVICE_...`) of a device. */
  setDevice(device: number, counter: number, value: number): void {
    this.values[deviceAt(device) + counter] = value;
  }

  /** A counter (`DEVICE_...`) of a device. */
  device(device: number, counter: number): number {
    return this.values[deviceAt(device) + counter]!;
  }

  /** A gateway-wide counter (`COUNTER.name`). */
  global(counter: number): number {
    return this.values[counter]!;
  }

  /** Where one of a port's values (`PORT_...`) stands in `values`, for who writes it with every packet. */
  portSlot(port: number, counter: number): number {
    return blockOf(port) + counter;
  }

  /**
   * Says which generation a port has now. Its counters begin anew if they were another one's: the slot means another
   * tunnel then. {@link PORT_SEQUENCE} says itself whose it is.
   */
  claimPort(port: number, generation: number): void {
    const at = blockOf(port);
    const before = this.values[at + PORT_GENERATION];
    this.values[at + PORT_GENERATION] = generation;
    if (before === generation || before === 0) return;
    this.values.fill(0, at, at + PORT_GENERATION);
    this.values.fill(0, at + PORT_ROOM, at + BLOCK);
  }
}

/** Where a port's block begins, in float64s. */
function blockOf(port: number): number {
  return GLOBAL_ROOM + (port >>> 0 < COUNTED_PORTS ? port : 0) * BLOCK;
}

function pluginAt(plugin: number): number {
  return PLUGINS_AT + (plugin & (COUNTED_PLUGINS - 1)) * PLUGIN_ROOM;
}

function deviceAt(device: number): number {
  return DEVICES_AT + (device & (COUNTED_DEVICES - 1)) * DEVICE_ROOM;
}
