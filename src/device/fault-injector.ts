/**
 * Faults on purpose: wraps any {@link BurstIo} and loses, doubles, reorders and damages frames, by a seeded
 * generator, so that a failure found once is found again.
 *
 * Faults happen in the descriptor lists, in front of the wrapped I/O (sent frames) or behind it (received
 * frames); only bit flips touch bytes, those of the frame from its IP header on. A doubled frame would share its
 * memory with its twin, which whoever drives the I/O may write to: so the second one gets a place of its own, at
 * the end of the scratch memory, which is taken from what the driver sees.
 */
import { FRAME_HEADROOM_BYTES, FRAME_PREFIX_BYTES, type FrameList, MAX_FRAME_BYTES } from '../wire/frame.ts';
import { placeFrame } from './frame-placement.ts';
import type { BurstIo } from './io.ts';

/** Probabilities, 0 to 1, of each fault for a frame. */
export interface FaultRates {
  readonly loss?: number;
  readonly duplication?: number;
  /** The frame changes places with the one behind it in its burst. */
  readonly reordering?: number;
  /** One bit of the packet is flipped. */
  readonly bitFlips?: number;
}

export interface FaultInjectorOptions {
  /** Any int32; the same seed gives the same faults. */
  readonly seed: number;
  readonly receive?: FaultRates;
  readonly send?: FaultRates;
  /** Memory for doubled frames, taken off the end of the scratch; default 1 MiB, at least two longest frames. */
  readonly copyBytes?: number;
}

export interface FaultCounts {
  lost: number;
  duplicated: number;
  reordered: number;
  flipped: number;
}

/** A small generator of uniform numbers (xorshift32); state is never 0. */
class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = (seed ^ 0x9e3779b9) | 0 || 1;
  }

  /** Uniform in 0 .. 2^32 - 1. */
  next(): number {
    let state = this.#state;
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    this.#state = state;
    return state >>> 0;
  }

  /** True with this probability; draws nothing for 0, so that other faults stay where they were. */
  chance(probability: number): boolean {
    return probability > 0 && this.next() < probability * 0x100000000;
  }
}

export class FaultInjector implements BurstIo {
  readonly memory: BurstIo['memory'];
  readonly scratchOffset: number;
  readonly scratchBytes: number;
  readonly rx: FrameList;
  readonly tx: FrameList;
  readonly txErrors: Float64Array;
  readonly received: FaultCounts = { lost: 0, duplicated: 0, reordered: 0, flipped: 0 };
  readonly sent: FaultCounts = { lost: 0, duplicated: 0, reordered: 0, flipped: 0 };

  readonly #io: BurstIo;
  readonly #random: Random;
  readonly #receive: Required<FaultRates>;
  readonly #send: Required<FaultRates>;
  readonly #copyBytes: number;
  #nextCopy = 0;
  #copyEnd = 0;

  /** Owns `io` from now on: drive and close it through this one. Throws RangeError if it has too little scratch. */
  constructor(io: BurstIo, options: FaultInjectorOptions) {
    const none = { loss: 0, duplication: 0, reordering: 0, bitFlips: 0 };
    this.#copyBytes = Math.max(
      options.copyBytes ?? 1024 * 1024,
      2 * (MAX_FRAME_BYTES + FRAME_HEADROOM_BYTES + 16),
    );
    if (this.#copyBytes > io.scratchBytes) {
      throw new RangeError(`${io.scratchBytes} bytes of scratch do not hold ${this.#copyBytes} for copies`);
    }
    this.#io = io;
    this.#random = new Random(options.seed);
    this.#receive = { ...none, ...options.receive };
    this.#send = { ...none, ...options.send };
    this.memory = io.memory;
    this.scratchOffset = io.scratchOffset;
    this.scratchBytes = (io.scratchBytes - this.#copyBytes) & ~63;
    this.rx = io.rx;
    this.tx = io.tx;
    this.txErrors = io.txErrors;
  }

  get nowMs(): number {
    return this.#io.nowMs;
  }

  burst(waitMs: number): number {
    // A half for either direction: what is sent may be a doubled frame of the last burst.
    const copies = this.scratchOffset + this.scratchBytes;
    const half = this.#copyBytes >>> 1;
    this.#nextCopy = copies;
    this.#copyEnd = copies + half;
    this.#disturb(this.tx, this.#send, this.sent);
    this.#io.burst(waitMs);
    this.#nextCopy = copies + half;
    this.#copyEnd = copies + this.#copyBytes;
    this.#disturb(this.rx, this.#receive, this.received);
    return this.rx.count;
  }

  #disturb(list: FrameList, rates: Required<FaultRates>, counts: FaultCounts): void {
    const before = list.words.slice(0, list.count * 4);
    list.count = 0;
    for (let at = 0; at < before.length; at += 4) {
      if (this.#random.chance(rates.loss)) {
        counts.lost++;
        continue;
      }
      if (this.#random.chance(rates.bitFlips)) {
        this.#flip(before[at]!, before[at + 1]!);
        counts.flipped++;
      }
      list.push(before[at]!, before[at + 1]!, before[at + 2]!, before[at + 3]!);
      // A list that is full of other frames has no room for a double.
      const room = list.capacity - list.count - (before.length - at - 4) / 4;
      if (room > 0 && this.#random.chance(rates.duplication) && this.#double(list)) counts.duplicated++;
    }
    for (let index = 0; index + 1 < list.count; index++) {
      if (this.#random.chance(rates.reordering)) {
        this.#swap(list.words, index * 4);
        counts.reordered++;
        // The frame that moved back stays there: it is one place late, not carried to the end.
        index++;
      }
    }
  }

  #flip(offset: number, lengthBytes: number): void {
    const bits = (lengthBytes - FRAME_PREFIX_BYTES) * 8;
    if (bits <= 0) return;
    const bit = this.#random.next() % bits;
    const at = offset + FRAME_PREFIX_BYTES + (bit >>> 3);
    this.memory.bytes[at] = this.memory.bytes[at]! ^ (1 << (bit & 7));
  }

  /** Appends a copy of the last frame. False if there is no memory for it. */
  #double(list: FrameList): boolean {
    const last = list.count - 1;
    const from = list.offset(last);
    const length = list.lengthBytes(last);
    const to = placeFrame(this.#nextCopy);
    if (to + length > this.#copyEnd) return false;
    this.memory.bytes.copyWithin(to, from, from + length);
    this.#nextCopy = to + length;
    return list.push(to, length, list.device(last), list.flags(last));
  }

  #swap(words: Int32Array, at: number): void {
    for (let word = at; word < at + 4; word++) {
      const kept = words[word]!;
      words[word] = words[word + 4]!;
      words[word + 4] = kept;
    }
  }

  deviceState(index: number): 'open' | 'closed' | 'gone' {
    return this.#io.deviceState(index);
  }

  close(): void {
    this.#io.close();
  }
}
