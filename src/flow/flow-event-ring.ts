/**
 * A ring of flow events: one writer (the data plane), one reader (control), in one file on tmpfs that both map.
 * It outlives either of them.
 *
 * ```
 *  header, 32-bit words of the host's byte order
 *    0  magic, written last       16     written: events since the start, modulo 2^32 (the writer's)
 *    1  layout version            18-19  float64: events lost because the ring was full (the writer's)
 *    2  capacity, events          20-21  float64: refusals not written, above their rate (the writer's)
 *    3  bytes of an event         32     read: events that the reader needs no more (the reader's)
 *    4-7  boot id
 *  4096 B
 *    events of `flow-event-layout.ts`; number n lies at n modulo capacity
 * ```
 *
 * The writer never waits: when `written - read` is the capacity, the event is counted as lost. An event is whole
 * before `written` says so; a writer that is killed in between leaves nothing. The reader moves `read` when it has
 * done with events: one that is killed before finds them again. Times count from boot, so a ring of another boot is
 * not used.
 */
import { EVENT_BYTES, EVENT_WORDS } from './flow-event-layout.ts';

const MAGIC = 0x45465748; // "HWFE"
/** Changes whenever the meaning of any byte in the file does. */
const LAYOUT_VERSION = 1;
const HEADER_BYTES = 4096;
const MAX_CAPACITY = 1 << 20;

const HEADER_MAGIC = 0;
const HEADER_VERSION = 1;
const HEADER_CAPACITY = 2;
const HEADER_EVENT_BYTES = 3;
const HEADER_BOOT_ID = 4;
const HEADER_WRITTEN = 16;
const HEADER_LOST = 18;
const HEADER_SUPPRESSED = 20;
const HEADER_READ = 32;

/** Events of a ring, unless somebody wants another size; a power of two. */
export const RING_EVENTS = 65536;

/** Bytes of a ring with so many events. Throws a RangeError unless that is a power of two up to 2^20. */
export function flowEventRingBytes(capacity: number): number {
  if (!Number.isInteger(capacity) || capacity < 1 || capacity > MAX_CAPACITY || capacity & (capacity - 1)) {
    throw new RangeError(`a ring has a power of two of events up to ${MAX_CAPACITY}, not ${capacity}`);
  }
  return HEADER_BYTES + capacity * EVENT_BYTES;
}

export class FlowEventRing {
  /** Events there is room for. */
  readonly capacity: number;
  /** Words of all events: number `n` begins at `(n & (capacity - 1)) * EVENT_WORDS`. */
  readonly words: Int32Array;
  /** The same bytes as float64: word `w` is element `w / 2`. */
  readonly floats: Float64Array;
  private readonly header: Int32Array;
  private readonly headerFloats: Float64Array;

  private constructor(buffer: ArrayBuffer, capacity: number) {
    this.capacity = capacity;
    this.header = new Int32Array(buffer, 0, HEADER_BYTES / 4);
    this.headerFloats = new Float64Array(buffer, 0, HEADER_BYTES / 8);
    this.words = new Int32Array(buffer, HEADER_BYTES, capacity * EVENT_WORDS);
    this.floats = new Float64Array(buffer, HEADER_BYTES, (capacity * EVENT_WORDS) / 2);
  }

  /** Makes an empty ring in `buffer`. Writes every byte, so that no page is touched for the first time later. */
  static create(buffer: ArrayBuffer, capacity: number, bootId: string): FlowEventRing {
    const lengthBytes = flowEventRingBytes(capacity);
    if (buffer.byteLength < lengthBytes) throw new RangeError(`a ring of ${lengthBytes} bytes does not fit`);
    const header = new Int32Array(buffer, 0, HEADER_BYTES / 4);
    Atomics.store(header, HEADER_MAGIC, 0);
    new Uint8Array(buffer).fill(0);
    header[HEADER_VERSION] = LAYOUT_VERSION;
    header[HEADER_CAPACITY] = capacity;
    header[HEADER_EVENT_BYTES] = EVENT_BYTES;
    header.set(bootIdWords(bootId), HEADER_BOOT_ID);
    Atomics.store(header, HEADER_MAGIC, MAGIC);
    return new FlowEventRing(buffer, capacity);
  }

  /** Opens a ring that is there; undefined if the buffer holds none of this layout and boot. Writes nothing. */
  static open(buffer: ArrayBuffer, bootId: string): FlowEventRing | undefined {
    if (buffer.byteLength < HEADER_BYTES) return undefined;
    const header = new Int32Array(buffer, 0, HEADER_BYTES / 4);
    const capacity = header[HEADER_CAPACITY]!;
    if (Atomics.load(header, HEADER_MAGIC) !== MAGIC || header[HEADER_VERSION] !== LAYOUT_VERSION) {
      return undefined;
    }
    if (header[HEADER_EVENT_BYTES] !== EVENT_BYTES) return undefined;
    if (capacity < 1 || capacity > MAX_CAPACITY || (capacity & (capacity - 1)) !== 0) return undefined;
    if (buffer.byteLength < flowEventRingBytes(capacity)) return undefined;
    const boot = bootIdWords(bootId);
    for (let word = 0; word < boot.length; word++) {
      if (header[HEADER_BOOT_ID + word] !== boot[word]) return undefined;
    }
    return new FlowEventRing(buffer, capacity);
  }

  /** Events written since the ring was made, modulo 2^32, as int32. */
  get written(): number {
    return Atomics.load(this.header, HEADER_WRITTEN);
  }

  /** Events that the reader has done with, modulo 2^32, as int32. */
  get read(): number {
    return Atomics.load(this.header, HEADER_READ);
  }

  /** The reader's: the events before this number are not needed any more. */
  set read(number: number) {
    Atomics.store(this.header, HEADER_READ, number | 0);
  }

  /** Events that wait for the reader. A number that cannot be is none: the reader begins anew. */
  get waiting(): number {
    const waiting = (this.written - this.read) >>> 0;
    return waiting <= this.capacity ? waiting : 0;
  }

  /** Events lost because the ring was full. */
  get lost(): number {
    return this.headerFloats[HEADER_LOST / 2]!;
  }

  /** Refusals above their rate, which were not written. */
  get suppressed(): number {
    return this.headerFloats[HEADER_SUPPRESSED / 2]!;
  }

  /** The writer's: word at which the next event begins, or -1 if the ring is full, which is counted. */
  claim(): number {
    const written = this.header[HEADER_WRITTEN]!;
    if ((written - Atomics.load(this.header, HEADER_READ)) >>> 0 >= this.capacity) {
      this.headerFloats[HEADER_LOST / 2]! += 1;
      return -1;
    }
    return Math.imul(written & (this.capacity - 1), EVENT_WORDS);
  }

  /** The writer's: the event at the place that {@link claim} gave is whole. */
  publish(): void {
    Atomics.store(this.header, HEADER_WRITTEN, (this.header[HEADER_WRITTEN]! + 1) | 0);
  }

  /** The writer's: a refusal was not written. */
  countSuppressed(): void {
    this.headerFloats[HEADER_SUPPRESSED / 2]! += 1;
  }
}

/** The 128 bits of a UUID as four words. Throws a RangeError if it is not one. */
function bootIdWords(bootId: string): Int32Array {
  const digits = bootId.trim().replaceAll('-', '');
  if (!/^[0-9a-f]{32}$/i.test(digits)) throw new RangeError(`a boot id must be a UUID, not ${bootId}`);
  return Int32Array.from({ length: 4 }, (_, word) =>
    Number.parseInt(digits.slice(word * 8, word * 8 + 8), 16),
  );
}
