/**
 * How long nothing was delivered, from captured frames: the kernel's time of each frame, at every host.
 *
 * ```
 *   delivered  | | | | |        |  | | | |
 *   window         [..............]            the gap is from the last one before it broke to the first one after
 *                      <-------->
 * ```
 */
import { PROTOCOL_TCP, PROTOCOL_UDP } from '../../../src/wire/packet.ts';
import type { SeenFrame } from './captured-packets.ts';
import { TOKEN_CHARACTERS } from './tokens.ts';

/** By the clock of captures: nanoseconds since 1970. */
export interface Window {
  readonly fromNs: bigint;
  readonly toNs: bigint;
}

export interface Gaps {
  /** No host got any packet of anybody. */
  readonly everything: number;
  /** The flow of datagrams, at either end, that waited longest. */
  readonly datagrams: number;
  /** The connection that waited longest for data: its sender's retransmission timer is part of it. */
  readonly connections: number;
}

/** Times of delivery, ascending, by flow and end. */
export class Deliveries {
  readonly #all: bigint[] = [];
  readonly #datagrams = new Map<string, bigint[]>();
  readonly #connections = new Map<string, bigint[]>();

  /** Takes note of what was delivered to a host. */
  note(host: string, frames: readonly SeenFrame[]): void {
    for (const frame of frames) {
      if (frame.what !== 'ip') continue;
      const { protocol, payload, timestampNs } = frame;
      this.#all.push(timestampNs);
      if (protocol === PROTOCOL_UDP) {
        add(this.#datagrams, `${host} ${payload.slice(0, TOKEN_CHARACTERS)}`, timestampNs);
      } else if (protocol === PROTOCOL_TCP && payload !== '') {
        const { source, sourcePort, destination, destinationPort } = frame;
        add(
          this.#connections,
          `${host} ${source} ${sourcePort} ${destination} ${destinationPort}`,
          timestampNs,
        );
      }
    }
  }

  /** The longest times in milliseconds of which a part lies in the window. */
  longest(window: Window): Gaps {
    this.#all.sort((one, other) => (one < other ? -1 : one > other ? 1 : 0));
    const most = (series: Iterable<readonly bigint[]>): number =>
      Math.max(0, ...[...series].map((times) => longestIn(times, window)));
    return {
      everything: longestIn(this.#all, window),
      datagrams: most(this.#datagrams.values()),
      connections: most(this.#connections.values()),
    };
  }
}

function add(series: Map<string, bigint[]>, key: string, time: bigint): void {
  const times = series.get(key);
  if (times === undefined) series.set(key, [time]);
  else times.push(time);
}

function longestIn(times: readonly bigint[], { fromNs, toNs }: Window): number {
  let longest = 0n;
  for (let at = 1; at < times.length; at++) {
    const [before, after] = [times[at - 1]!, times[at]!];
    if (after > fromNs && before < toNs && after - before > longest) longest = after - before;
  }
  return Number(longest / 1000n) / 1000;
}

/** `median 312 ms, longest 340 ms` */
export function describeGaps(gapsMs: readonly number[]): string {
  const sorted = gapsMs.toSorted((one, other) => one - other);
  const middle = sorted.length >> 1;
  const median =
    sorted.length % 2 === 1 ? sorted[middle]! : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
  return `median ${Math.round(median)} ms, longest ${Math.round(sorted.at(-1) ?? 0)} ms`;
}
