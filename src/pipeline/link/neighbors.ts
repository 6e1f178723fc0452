/**
 * Which MAC a neighbour has: the cache and its state machine, for ARP and neighbour discovery alike
 * (RFC 826, RFC 1122 2.3.2, RFC 4861 7.2 and 7.3).
 *
 * ```
 *                     packet to it                answer
 *        (no entry) ---------------> INCOMPLETE ----------> REACHABLE <-----------------+
 *          ^  ^  ^                    | asked 3 times         | 30 s                    |
 *          |  |  |                    v 1 s apart             v          packet         | answer
 *          |  |  +------ 3 s ------ FAILED         +------> STALE ---------------> DELAY|
 *          |  |                       |            |         |                      | 5 s
 *          |  +-----------------------|------------|- 10 min-+                      v   |
 *          |                          +------------+                              PROBE-+
 *          |                      it asks us, or says unasked                       | asked 3 times,
 *          +---------- that it has another MAC (not within 1 s of an answer)        | 1 s apart
 *          +------------------------------------------------------------------------+
 * ```
 *
 * In REACHABLE, STALE, DELAY and PROBE packets are sent to the MAC known; in INCOMPLETE they wait; in FAILED
 * they are refused by {@link DROP.neighbor_unresolved}, so that the sender can be told that the host is
 * unreachable without being asked for again each time.
 *
 * What a neighbour says unasked never makes an entry, and a MAC that was just confirmed is not given up for
 * one second, so that of two who answer the first wins. An entry is also made when a neighbour asks for one of
 * our addresses on a link where we are the host, since it will send to us next.
 *
 * Neighbours: `neighbor-table.ts` and `neighbor-queue.ts` (storage), `neighbor-requests.ts` (asks),
 * `neighbor-input.ts` (reads what neighbours send).
 */
import { DROP } from '../../plugin/drop-reasons.ts';
import type { Address } from '../../wire/address.ts';
import type { FrameList, FrameMemory } from '../../wire/frame.ts';
import { IPV4, IPV6 } from '../../wire/packet.ts';
import { writeDestination } from './ethernet-header.ts';
import type { LinkDevice } from './link-device.ts';
import type { LinkPort } from './link-port.ts';
import { NeighborQueue, QUEUE_PER_NEIGHBOR } from './neighbor-queue.ts';
import { NeighborRequests } from './neighbor-requests.ts';
import {
  NEIGHBOR_DELAY,
  NEIGHBOR_FAILED,
  NEIGHBOR_FREE,
  NEIGHBOR_INCOMPLETE,
  NEIGHBOR_PROBE,
  NEIGHBOR_REACHABLE,
  NEIGHBOR_STALE,
  NeighborTable,
} from './neighbor-table.ts';
import type { Scratch } from './scratch.ts';

export const REACHABLE_MS = 30_000;
export const STALE_MS = 600_000;
export const DELAY_MS = 5000;
export const RETRANSMIT_MS = 1000;
export const MAX_REQUESTS = 3;
export const FAILED_MS = 3000;
/** How long a confirmed MAC holds against another one that was not asked for. */
export const LOCK_MS = 1000;
const NONE = -1;

export class Neighbors {
  readonly table: NeighborTable;
  /** Neighbours that did not answer, as of the last `tick`, where they come to be such. */
  failed = 0;
  private readonly queue: NeighborQueue;
  private readonly requests: NeighborRequests;
  private readonly words: Int32Array;
  private readonly tx: FrameList;
  private readonly drop: (port: number, reason: number) => void;
  private devices: readonly (LinkDevice | undefined)[] = [];
  private ports: readonly (LinkPort | undefined)[] = [];

  /**
   * Takes room for `queueBlocks` waiting frames from the scratch memory for good.
   *
   * @param drop counts a waiting packet that is given up, by the port it was sent by
   */
  constructor(
    memory: FrameMemory,
    tx: FrameList,
    scratch: Scratch,
    drop: (port: number, reason: number) => void,
    capacity: number,
    queueBlocks: number,
    seed: number,
  ) {
    this.table = new NeighborTable(capacity, seed);
    this.queue = new NeighborQueue(scratch, queueBlocks);
    this.requests = new NeighborRequests(memory, tx, scratch);
    this.words = memory.words;
    this.tx = tx;
    this.drop = drop;
  }

  /** Takes new devices and ports; what was learnt on a link that changed is forgotten. Never throws. */
  configure(devices: readonly (LinkDevice | undefined)[], ports: readonly (LinkPort | undefined)[]): void {
    for (const old of this.devices) {
      if (old !== undefined && devices[old.index]?.signature !== old.signature) this.empty(old.index, 0);
    }
    const ethernet = devices.filter((device) => device?.isEthernet === 1).length;
    this.table.setDevices(devices.length, ethernet);
    this.queue.setDevices(devices.length, ethernet);
    for (let device = 0; device < devices.length; device++) this.empty(device, this.table.deviceShare);
    this.devices = devices;
    this.ports = ports;
  }

  /**
   * The entry of a neighbour to whom a packet is about to be sent, or -DROP if it cannot be: made, and asked
   * for, if there is none. Whether its MAC is known says {@link isUsable}.
   */
  resolve(
    device: LinkDevice,
    word0: number,
    word1: number,
    word2: number,
    word3: number,
    nowMs: number,
  ): number {
    const table = this.table;
    let entry = table.find(device.index, word0, word1, word2, word3);
    if (entry === NONE) {
      if (!this.requests.canAsk(device, word0, word1, word2)) return -DROP.neighbor_unresolved;
      entry = this.insert(device, word0, word1, word2, word3);
      if (entry === NONE) return -DROP.neighbor_queue;
      this.askFirst(entry, NEIGHBOR_INCOMPLETE, nowMs);
      return entry;
    }
    return this.use(entry, nowMs);
  }

  /** Control path: addresses of a device's neighbours that are known, who was heard to answer last first. */
  heardOn(device: number, nowMs: number): Address[] {
    const { table } = this;
    return table.heardOf(device, nowMs).map((entry) => {
      const words = Int32Array.of(
        table.word0[entry],
        table.word1[entry],
        table.word2[entry],
        table.word3[entry],
      );
      const isIpv4 = words[0] === 0 && words[1] === 0 && words[2] === 0;
      return { family: isIpv4 ? IPV4 : IPV6, words };
    });
  }

  /** The same for an entry that was found before. */
  use(entry: number, nowMs: number): number {
    const state = this.table.state[entry];
    if (state === NEIGHBOR_FAILED) return -DROP.neighbor_unresolved;
    if (state === NEIGHBOR_STALE) this.setState(entry, NEIGHBOR_DELAY, nowMs + DELAY_MS);
    return entry;
  }

  /** Whether the entry's MAC may be used. */
  isUsable(entry: number): boolean {
    return this.table.state[entry] >= NEIGHBOR_REACHABLE;
  }

  /**
   * Keeps a copy of a finished frame, but for its destination, until the neighbour answers. The neighbour's oldest
   * frame gives way when there are too many (RFC 4861, 7.2.2). Returns 0, or the DROP number if there is no room for
   * this one.
   */
  hold(entry: number, frame: number, lengthBytes: number, flags: number, port: LinkPort): number {
    const table = this.table;
    const queue = this.queue;
    const device = table.device[entry];
    const waiting = table.queueCount[entry];
    if (queue.isTooLong(lengthBytes)) return DROP.neighbor_queue;
    if (waiting >= QUEUE_PER_NEIGHBOR || (waiting > 0 && queue.isScarce(device))) {
      this.dropFirst(entry, DROP.neighbor_queue);
    }
    const block = queue.take(frame, lengthBytes, device);
    if (block === NONE) return DROP.neighbor_queue;
    queue.flags[block] = flags;
    queue.port[block] = port.index;
    queue.generation[block] = port.generation;
    const tail = table.queueTail[entry];
    if (tail === NONE) table.queueHead[entry] = block;
    else queue.next[tail] = block;
    table.queueTail[entry] = block;
    table.queueCount[entry]++;
    return 0;
  }

  /** A neighbour asked for one of our addresses and said who it is. `mayInsert`: whether it may be remembered anew. */
  heardAsking(
    device: LinkDevice,
    word0: number,
    word1: number,
    word2: number,
    word3: number,
    macHead: number,
    macTail: number,
    mayInsert: boolean,
    nowMs: number,
  ): void {
    const table = this.table;
    let entry = table.find(device.index, word0, word1, word2, word3);
    if (entry === NONE) {
      if (!mayInsert) return;
      entry = this.insert(device, word0, word1, word2, word3);
      if (entry === NONE) return;
    } else if (this.isUsable(entry)) {
      if (table.macHead[entry] === macHead && table.macTail[entry] === macTail) return;
      if (this.isLocked(entry, nowMs)) return;
    }
    this.setMac(entry, macHead, macTail);
    this.setState(entry, NEIGHBOR_STALE, nowMs + STALE_MS);
    this.flush(entry);
  }

  /**
   * A neighbour said where an address is: an ARP reply (always with a MAC, always overriding) or a neighbour
   * advertisement (RFC 4861, 7.2.5).
   *
   * @param hasMac whether it gave a MAC at all
   * @param toUs whether it was sent to us, as an answer is
   * @param isOverride whether it may replace a MAC that is known
   */
  heardAnswer(
    device: LinkDevice,
    word0: number,
    word1: number,
    word2: number,
    word3: number,
    macHead: number,
    macTail: number,
    hasMac: boolean,
    toUs: boolean,
    isOverride: boolean,
    nowMs: number,
  ): void {
    const table = this.table;
    const entry = table.find(device.index, word0, word1, word2, word3);
    if (entry === NONE) return;
    if (!this.isUsable(entry)) {
      if (!hasMac) return;
      const isAnswer = toUs && table.state[entry] === NEIGHBOR_INCOMPLETE;
      this.setMac(entry, macHead, macTail);
      if (isAnswer) this.confirm(entry, nowMs);
      else this.setState(entry, NEIGHBOR_STALE, nowMs + STALE_MS);
      this.flush(entry);
      return;
    }
    const isAnswer = toUs && table.state[entry] === NEIGHBOR_PROBE;
    if (hasMac && (table.macHead[entry] !== macHead || table.macTail[entry] !== macTail)) {
      if (!isAnswer && this.isLocked(entry, nowMs)) return;
      if (!isOverride) {
        // Somebody else claims the address but leaves it to the one known: ask that one again, soon.
        if (table.state[entry] === NEIGHBOR_REACHABLE) {
          this.setState(entry, NEIGHBOR_STALE, nowMs + STALE_MS);
        }
        return;
      }
      this.setMac(entry, macHead, macTail);
      if (!isAnswer) this.setState(entry, NEIGHBOR_STALE, nowMs + STALE_MS);
    }
    if (isAnswer) this.confirm(entry, nowMs);
  }

  /** Runs the timers that have ended. To be called at least once a second. */
  tick(nowMs: number): void {
    const table = this.table;
    let failed = 0;
    for (let entry = 0; entry < table.end; entry++) {
      if (table.state[entry] === NEIGHBOR_FREE) continue;
      if (((nowMs - table.timerAt[entry]) | 0) >= 0) this.expire(entry, nowMs);
      if (table.state[entry] === NEIGHBOR_FAILED) failed++;
    }
    this.failed = failed;
  }

  private expire(entry: number, nowMs: number): void {
    const table = this.table;
    switch (table.state[entry]) {
      case NEIGHBOR_INCOMPLETE:
        if (table.requests[entry] < MAX_REQUESTS) {
          this.askAgain(entry, nowMs);
          return;
        }
        while (table.queueHead[entry] !== NONE) this.dropFirst(entry, DROP.neighbor_unresolved);
        this.setState(entry, NEIGHBOR_FAILED, nowMs + FAILED_MS);
        return;
      case NEIGHBOR_REACHABLE:
        this.setState(entry, NEIGHBOR_STALE, nowMs + STALE_MS);
        return;
      case NEIGHBOR_DELAY:
        this.askFirst(entry, NEIGHBOR_PROBE, nowMs);
        return;
      case NEIGHBOR_PROBE:
        if (table.requests[entry] < MAX_REQUESTS) {
          this.askAgain(entry, nowMs);
          return;
        }
        table.remove(entry);
        return;
      default:
        table.remove(entry);
    }
  }

  private insert(device: LinkDevice, word0: number, word1: number, word2: number, word3: number): number {
    const table = this.table;
    const entry = table.insert(device.index, word0, word1, word2, word3);
    if (entry !== NONE) return entry;
    const victim = table.evictable(device.index);
    if (victim === NONE) return NONE;
    this.remove(victim, DROP.neighbor_queue);
    return table.insert(device.index, word0, word1, word2, word3);
  }

  /** Removes entries of a device, oldest first, until at most `keep` are left. */
  private empty(device: number, keep: number): void {
    while (this.table.count(device) > keep) this.remove(this.table.oldestOf(device), DROP.port_down);
  }

  private remove(entry: number, reason: number): void {
    while (this.table.queueHead[entry] !== NONE) this.dropFirst(entry, reason);
    this.table.remove(entry);
  }

  private setState(entry: number, state: number, timerAt: number): void {
    this.table.state[entry] = state;
    this.table.timerAt[entry] = timerAt;
  }

  private setMac(entry: number, macHead: number, macTail: number): void {
    this.table.macHead[entry] = macHead;
    this.table.macTail[entry] = macTail;
  }

  private confirm(entry: number, nowMs: number): void {
    this.table.confirmedAt[entry] = nowMs;
    this.setState(entry, NEIGHBOR_REACHABLE, nowMs + REACHABLE_MS);
  }

  private isLocked(entry: number, nowMs: number): boolean {
    const ageMs = (nowMs - this.table.confirmedAt[entry]) | 0;
    return this.table.state[entry] === NEIGHBOR_REACHABLE && ageMs >= 0 && ageMs < LOCK_MS;
  }

  private askFirst(entry: number, state: number, nowMs: number): void {
    this.table.requests[entry] = 0;
    this.table.state[entry] = state;
    this.askAgain(entry, nowMs);
  }

  private askAgain(entry: number, nowMs: number): void {
    const table = this.table;
    table.requests[entry]++;
    table.timerAt[entry] = nowMs + RETRANSMIT_MS;
    const device = this.devices[table.device[entry]];
    if (device === undefined) return;
    this.requests.ask(
      device,
      table.word0[entry],
      table.word1[entry],
      table.word2[entry],
      table.word3[entry],
      table.macHead[entry],
      table.macTail[entry],
    );
  }

  /** Sends what waited for the entry's MAC, by ports that are still the ones it was sent by. */
  private flush(entry: number): void {
    const table = this.table;
    const queue = this.queue;
    while (table.queueHead[entry] !== NONE) {
      const block = this.takeFirst(entry);
      const port = this.ports[queue.port[block]];
      const frame = queue.frame(block);
      let reason: number = DROP.port_down;
      if (port !== undefined && port.enabled !== 0 && port.generation === queue.generation[block]) {
        writeDestination(this.words, frame, table.macHead[entry], table.macTail[entry]);
        const isSent = this.tx.push(frame, queue.lengthBytes[block], table.device[entry], queue.flags[block]);
        reason = isSent ? DROP.none : DROP.output_full;
      }
      queue.giveBack(block, reason === DROP.none);
      if (reason !== DROP.none) this.drop(queue.port[block], reason);
    }
  }

  private takeFirst(entry: number): number {
    const table = this.table;
    const block = table.queueHead[entry];
    table.queueHead[entry] = this.queue.next[block];
    if (table.queueHead[entry] === NONE) table.queueTail[entry] = NONE;
    table.queueCount[entry]--;
    return block;
  }

  private dropFirst(entry: number, reason: number): void {
    const block = this.takeFirst(entry);
    this.queue.giveBack(block, false);
    this.drop(this.queue.port[block], reason);
  }
}
