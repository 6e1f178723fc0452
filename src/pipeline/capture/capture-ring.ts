/**
 * The ring through which captured packets go from the data plane to control: one writer, one reader, a file on tmpfs
 * mapped by both.
 *
 * ```
 *  word 0        16                32               64
 *  +------------+-----------------+----------------+---------------------------------------- - -
 *  | magic,     | writer: head,   | reader: tail,  | records, one behind the other, around the end
 *  | words      | lost, ended     | lease          |
 *  +------------+-----------------+----------------+---------------------------------------- - -
 *                 a cache line or two each
 *
 *  record   words | data bytes | wire bytes | what, port | reason, flags | flow id | seconds | microseconds
 *           | packet number | device | gso | 0 | data, padded to a word          (times since 1970)
 * ```
 *
 * `head` and `tail` count words and wrap as int32; their difference is what is unread. What does not fit is not
 * written but counted as lost: the writer never waits. The reader renews the lease by changing it; a writer that sees
 * no change for {@link LEASE_MS} stops.
 *
 * Neighbours: `capture-session.ts` (writes), `control/capture/` (reads).
 */
import type { FrameMemory } from '../../wire/frame.ts';

const MAGIC = 0x68775243;
const MAGIC_WORD = 0;
const WORDS_WORD = 1;
const HEAD = 16;
const LOST = 17;
const ENDED = 18;
const TAIL = 32;
const LEASE = 33;
const HEADER_WORDS = 64;

/** A reader that was silent for so long is gone. */
export const LEASE_MS = 3000;

/** What a record is: a packet as a port received it. */
export const RECORD_RECEIVED = 1;
/** A packet as a port sent it, or would as soon as its neighbour answers. */
export const RECORD_SENT = 2;
/** A frame that the link layer dropped: behind its virtio-net header, the 14 bytes of the link header included. */
export const RECORD_FRAME = 3;

/** The transport checksum is left to the device: in the packet stands the pseudo-header's sum. */
export const RECORD_PARTIAL_CHECKSUM = 1 << 16;

const RECORD_WORDS_WORD = 0;
const RECORD_DATA_BYTES = 1;
const RECORD_WIRE_BYTES = 2;
/** `what << 16 | port index`; port 0: none. */
const RECORD_WHAT = 3;
/** Drop reason in the low half, flags `RECORD_...` above. */
export const RECORD_REASON = 4;
const RECORD_FLOW = 5;
const RECORD_SECONDS = 6;
const RECORD_MICROSECONDS = 7;
/** Counts received packets: what became of one has the same number. */
const RECORD_PACKET = 8;
export const RECORD_DEVICE = 9;
/** `gso type << 16 | gso size`, 0 for a packet that is as it was on the wire. */
export const RECORD_GSO = 10;
export const RECORD_HEADER_WORDS = 12;

/** Bytes of a ring's file. @param dataBytes a power of two, 64 KiB at least */
export function captureRingBytes(dataBytes: number): number {
  if (dataBytes < 65536 || (dataBytes & (dataBytes - 1)) !== 0) {
    throw new RangeError(`${dataBytes} bytes are no size of a ring: it must be a power of two`);
  }
  return HEADER_WORDS * 4 + dataBytes;
}

/** Makes an empty ring in zeroed memory. */
export function formatCaptureRing(buffer: ArrayBuffer): void {
  const words = new Int32Array(buffer);
  captureRingBytes((words.length - HEADER_WORDS) * 4);
  words[WORDS_WORD] = words.length - HEADER_WORDS;
  Atomics.store(words, MAGIC_WORD, MAGIC);
}

function openRing(buffer: ArrayBuffer): Int32Array {
  const words = new Int32Array(buffer);
  if (words.length <= HEADER_WORDS || words[MAGIC_WORD] !== MAGIC)
    throw new RangeError('this is no capture ring');
  if (words[WORDS_WORD] !== words.length - HEADER_WORDS)
    throw new RangeError('the capture ring has another size');
  return words;
}

/** The data plane's end. Records are appended, filled in, and then committed or taken back together. */
export class CaptureRingWriter {
  private readonly words: Int32Array;
  private readonly bytes: Uint8Array;
  private readonly size: number;
  private readonly mask: number;
  private head: number;
  /** Behind the records that are not committed. */
  private next: number;

  /** @throws RangeError if the memory is no ring */
  constructor(buffer: ArrayBuffer) {
    this.words = openRing(buffer);
    this.bytes = new Uint8Array(buffer);
    this.size = this.words.length - HEADER_WORDS;
    this.mask = this.size - 1;
    this.head = this.words[HEAD];
    this.next = this.head;
  }

  /** Whether records wait to be committed. */
  get hasPending(): boolean {
    return this.next !== this.head;
  }

  /** The reader's lease: renewed whenever it differs. */
  get lease(): number {
    return Atomics.load(this.words, LEASE);
  }

  /**
   * Appends a record of a packet at `offset` in packet memory (a multiple of 4) with a header of zeros but for
   * lengths and `what`. Returns its position for {@link set}, or -1 if there is no room.
   *
   * @param dataBytes kept of `wireBytes`
   */
  append(what: number, memory: FrameMemory, offset: number, dataBytes: number, wireBytes: number): number {
    const dataWords = (dataBytes + 3) >> 2;
    const at = this.reserve(dataWords, what, dataBytes, wireBytes);
    if (at < 0) return -1;
    const { words, mask } = this;
    const from = memory.words;
    const source = offset >> 2;
    const start = (at + RECORD_HEADER_WORDS) | 0;
    for (let i = 0; i < dataWords; i++) words[HEADER_WORDS + ((start + i) & mask)] = from[source + i];
    return at;
  }

  /** The same from an offset that is not aligned: slower. */
  appendBytes(
    what: number,
    memory: FrameMemory,
    offset: number,
    dataBytes: number,
    wireBytes: number,
  ): number {
    const at = this.reserve((dataBytes + 3) >> 2, what, dataBytes, wireBytes);
    if (at < 0) return -1;
    const { bytes } = this;
    const from = memory.bytes;
    const start = Math.imul((at + RECORD_HEADER_WORDS) & this.mask, 4);
    const byteMask = this.size * 4 - 1;
    for (let i = 0; i < dataBytes; i++) bytes[HEADER_WORDS * 4 + ((start + i) & byteMask)] = from[offset + i];
    return at;
  }

  /** Sets a header word (`RECORD_...`) of a record that is not committed. */
  set(at: number, field: number, value: number): void {
    this.words[HEADER_WORDS + ((at + field) & this.mask)] = value;
  }

  /** Fills in what all records that are not committed have in common, and gives them to the reader. */
  commit(flowId: number, packetNumber: number, seconds: number, microseconds: number): void {
    const { words, mask } = this;
    for (let at = this.head; at !== this.next; ) {
      this.set(at, RECORD_FLOW, flowId);
      this.set(at, RECORD_PACKET, packetNumber);
      this.set(at, RECORD_SECONDS, seconds);
      this.set(at, RECORD_MICROSECONDS, microseconds);
      at = (at + words[HEADER_WORDS + ((at + RECORD_WORDS_WORD) & mask)]) | 0;
    }
    this.head = this.next;
    Atomics.store(words, HEAD, this.head);
  }

  /** Takes back what is not committed. */
  discard(): void {
    this.next = this.head;
  }

  countLost(records: number): void {
    Atomics.add(this.words, LOST, records);
  }

  /** Says that nothing will come any more. */
  end(): void {
    Atomics.store(this.words, ENDED, 1);
  }

  private reserve(dataWords: number, what: number, dataBytes: number, wireBytes: number): number {
    const { words } = this;
    const needed = RECORD_HEADER_WORDS + dataWords;
    const used = (this.next - Atomics.load(words, TAIL)) | 0;
    if (needed > this.size - used) return -1;
    const at = this.next;
    this.next = (at + needed) | 0;
    for (let i = 0; i < RECORD_HEADER_WORDS; i++) words[HEADER_WORDS + ((at + i) & this.mask)] = 0;
    this.set(at, RECORD_WORDS_WORD, needed);
    this.set(at, RECORD_DATA_BYTES, dataBytes);
    this.set(at, RECORD_WIRE_BYTES, wireBytes);
    this.set(at, RECORD_WHAT, what);
    return at;
  }
}

/** A record as the reader gives it. */
export interface CaptureRecord {
  readonly what: number;
  /** 0: none. */
  readonly port: number;
  readonly device: number;
  readonly reason: number;
  readonly partialChecksum: boolean;
  readonly flowId: number;
  readonly timestampNs: bigint;
  readonly packetNumber: number;
  /** Payload bytes of each segment of a GSO packet, 0 for one that is as it was on the wire. */
  readonly gsoSize: number;
  readonly wireBytes: number;
  /** A copy. */
  readonly data: Uint8Array;
}

/** Control's end. */
export class CaptureRingReader {
  private readonly words: Int32Array;
  private readonly bytes: Uint8Array;
  private readonly mask: number;

  /** @throws RangeError if the memory is no ring */
  constructor(buffer: ArrayBuffer) {
    this.words = openRing(buffer);
    this.bytes = new Uint8Array(buffer);
    this.mask = this.words.length - HEADER_WORDS - 1;
  }

  /** Records that did not fit, since the ring was made. */
  get lost(): number {
    return Atomics.load(this.words, LOST);
  }

  get ended(): boolean {
    return Atomics.load(this.words, ENDED) !== 0;
  }

  renewLease(): void {
    Atomics.add(this.words, LEASE, 1);
  }

  /** Forgets all records. */
  skip(): void {
    Atomics.store(this.words, TAIL, Atomics.load(this.words, HEAD));
  }

  /** The oldest record, which is then forgotten; undefined if there is none. */
  read(): CaptureRecord | undefined {
    const { words } = this;
    const tail = Atomics.load(words, TAIL);
    if (tail === Atomics.load(words, HEAD)) return undefined;
    const field = (number: number): number => words[HEADER_WORDS + ((tail + number) & this.mask)]!;
    const what = field(RECORD_WHAT);
    const reason = field(RECORD_REASON);
    const microseconds =
      BigInt(field(RECORD_SECONDS) >>> 0) * 1_000_000n + BigInt(field(RECORD_MICROSECONDS));
    const record = {
      what: what >>> 16,
      port: what & 0xffff,
      device: field(RECORD_DEVICE),
      reason: reason & 0xffff,
      partialChecksum: (reason & RECORD_PARTIAL_CHECKSUM) !== 0,
      flowId: field(RECORD_FLOW) >>> 0,
      timestampNs: microseconds * 1000n,
      packetNumber: field(RECORD_PACKET) >>> 0,
      gsoSize: field(RECORD_GSO) & 0xffff,
      wireBytes: field(RECORD_WIRE_BYTES),
      data: this.copy((tail + RECORD_HEADER_WORDS) | 0, field(RECORD_DATA_BYTES)),
    };
    Atomics.store(words, TAIL, (tail + field(RECORD_WORDS_WORD)) | 0);
    return record;
  }

  private copy(word: number, lengthBytes: number): Uint8Array {
    const start = HEADER_WORDS * 4 + (word & this.mask) * 4;
    const untilEnd = Math.min(lengthBytes, this.bytes.length - start);
    const data = new Uint8Array(lengthBytes);
    data.set(this.bytes.subarray(start, start + untilEnd));
    data.set(this.bytes.subarray(HEADER_WORDS * 4, HEADER_WORDS * 4 + lengthBytes - untilEnd), untilEnd);
    return data;
  }
}
