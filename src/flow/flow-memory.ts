/**
 * The flow memory: one buffer, usually a tmpfs file mapped by the native part, that outlives the data plane.
 *
 * ```
 *  +---------+----------+-------------------+---------------------+-------------+
 *  | header  | counters | records           | translation         | held tuples |
 *  | 4096 B  |          | capacity * 192 B  | bytes as requested  | as requested|
 *  +---------+----------+-------------------+---------------------+-------------+
 *   every section begins at a multiple of 64 bytes
 *
 *  header, 32-bit words of the host's byte order
 *    0  magic, written last          8-11  boot id (128 bits)
 *    1  layout version              12-13  hash seed
 *    2  capacity, records           14     last alive, ms since boot
 *    3  bytes of a record           15     id of the newest flow
 *    4  bytes of counters
 *    5  bytes of translation
 *    6  bytes of held tuples         64-   names of plugins: bytes of text, then the text
 *    7  the plugin that is running (`plugin/running-plugin.ts`), and in 16 the one that takes too long
 * ```
 *
 * The data plane writes; the control process may map the same file read-only ({@link FlowMemory.open} writes
 * nothing). A file of another layout, size or boot is refused by name, and whoever owns it makes a new one:
 * times in it count from boot, so after a boot nothing in it means anything.
 *
 * Memory of a flow, all told, at a million flows: 192 bytes of record, 17 of index (`flow/table.ts`), the rest
 * of 256 for translation, held tuples, budgets and counters. Free records are chained through themselves.
 *
 * Neighbours: `flow/layout.ts` (a record), `flow/table.ts`, `flow/counters.ts`, `flow/translation.ts`,
 * `flow/held-tuples.ts` (what lies in the sections).
 */
import { COUNTERS_BYTES } from './counters.ts';
import { RECORD_BYTES } from './layout.ts';

/** Most records that a flow memory may have: what a slot of the index can name and still carry a tag. */
export const MAX_FLOWS = 1 << 23;

/** Changes whenever the meaning of any byte in the file does. */
const LAYOUT_VERSION = 1;
const MAGIC = 0x4d465748; // "HWFM"
const HEADER_BYTES = 4096;
/** Bytes that {@link readFlowMemoryHeader} needs. */
export const FLOW_MEMORY_HEADER_BYTES = HEADER_BYTES;
const MAX_SECTION_BYTES = 0x7fffffc0;

const HEADER_MAGIC = 0;
const HEADER_VERSION = 1;
const HEADER_CAPACITY = 2;
const HEADER_RECORD_BYTES = 3;
const HEADER_COUNTERS_BYTES = 4;
const HEADER_TRANSLATION_BYTES = 5;
const HEADER_HELD_TUPLE_BYTES = 6;
const HEADER_RUNNING_PLUGIN = 7;
const HEADER_BOOT_ID = 8;
const HEADER_HASH_SEED = 12;
const HEADER_LAST_ALIVE = 14;
const HEADER_NEWEST_ID = 15;
const HEADER_ACCUSED_PLUGIN = 16;
const HEADER_PLUGINS = 64;
const MAX_PLUGIN_TEXT_BYTES = HEADER_BYTES - (HEADER_PLUGINS + 1) * 4;

/** What a flow memory is made for. */
export interface FlowMemoryOptions {
  /** Records, 1 to {@link MAX_FLOWS}. */
  readonly capacity: number;
  /** Bytes for `flow/translation.ts`; rounded up to 64. */
  readonly translationBytes: number;
  /** Bytes for `flow/held-tuples.ts`; rounded up to 64. */
  readonly heldTupleBytes: number;
  /** The kernel's boot id: a UUID as text. */
  readonly bootId: string;
  /** Two words that the hash of this memory is seeded with; random when absent. */
  readonly hashSeed?: readonly [number, number];
}

/** Why a buffer cannot be used as it is. */
export type FlowMemoryRefusal =
  /** Shorter than its header, or than the sections that its header names. */
  | 'truncated'
  /** Not a flow memory, or one whose making was interrupted. */
  | 'not_flow_memory'
  /** Written by a homeward with another layout. */
  | 'other_layout'
  /** Made for another capacity or other section sizes than expected. */
  | 'other_size'
  /** Written before the last boot. */
  | 'other_boot';

export type FlowMemoryResult =
  | { readonly usable: true; readonly memory: FlowMemory }
  | { readonly usable: false; readonly refusal: FlowMemoryRefusal; readonly text: string };

/** Bytes that a flow memory with these options takes. Throws a RangeError for sizes that cannot be. */
export function flowMemoryBytes(options: FlowMemoryOptions): number {
  if (!Number.isInteger(options.capacity) || options.capacity < 1 || options.capacity > MAX_FLOWS) {
    throw new RangeError(`capacity must be an integer from 1 to ${MAX_FLOWS}, not ${options.capacity}`);
  }
  return (
    HEADER_BYTES +
    COUNTERS_BYTES +
    options.capacity * RECORD_BYTES +
    sectionBytes('translationBytes', options.translationBytes) +
    sectionBytes('heldTupleBytes', options.heldTupleBytes)
  );
}

/** The sections of one flow memory, as views over its buffer. */
export class FlowMemory {
  readonly buffer: ArrayBuffer;
  /** Records. */
  readonly capacity: number;
  /** `flow/counters.ts`. */
  readonly counters: Float64Array;
  /** Records of `flow/layout.ts`, from record 0. */
  readonly records: Int32Array;
  /** The same bytes as `records`: for the packet and byte counters. */
  readonly recordFloats: Float64Array;
  /** `flow/translation.ts`. */
  readonly translation: Int32Array;
  /** `flow/held-tuples.ts`. */
  readonly heldTuples: Int32Array;
  /** Two words, random for each memory. */
  readonly hashSeed0: number;
  readonly hashSeed1: number;
  /** One word: the plugin that is running, as in `plugin/running-plugin.ts`. */
  readonly runningPlugin: Int32Array;
  /** One word: the value of `runningPlugin` that the watchdog accuses. */
  readonly accusedPlugin: Int32Array;
  private readonly header: Int32Array;

  private constructor(buffer: ArrayBuffer, header: Int32Array) {
    const capacity = header[HEADER_CAPACITY]!;
    const translationBytes = header[HEADER_TRANSLATION_BYTES]!;
    const heldTupleBytes = header[HEADER_HELD_TUPLE_BYTES]!;
    const recordsAt = HEADER_BYTES + COUNTERS_BYTES;
    const translationAt = recordsAt + capacity * RECORD_BYTES;
    const heldTuplesAt = translationAt + translationBytes;
    this.buffer = buffer;
    this.capacity = capacity;
    this.counters = new Float64Array(buffer, HEADER_BYTES, COUNTERS_BYTES / 8);
    this.records = new Int32Array(buffer, recordsAt, (capacity * RECORD_BYTES) / 4);
    this.recordFloats = new Float64Array(buffer, recordsAt, (capacity * RECORD_BYTES) / 8);
    this.translation = new Int32Array(buffer, translationAt, translationBytes / 4);
    this.heldTuples = new Int32Array(buffer, heldTuplesAt, heldTupleBytes / 4);
    this.hashSeed0 = header[HEADER_HASH_SEED]!;
    this.hashSeed1 = header[HEADER_HASH_SEED + 1]!;
    this.runningPlugin = header.subarray(HEADER_RUNNING_PLUGIN, HEADER_RUNNING_PLUGIN + 1);
    this.accusedPlugin = header.subarray(HEADER_ACCUSED_PLUGIN, HEADER_ACCUSED_PLUGIN + 1);
    this.header = header;
  }

  /**
   * Makes an empty flow memory in `buffer`, whatever was there before. Writes every byte, so that no page is
   * touched for the first time on a packet's way, and the magic last. Throws a RangeError if the options cannot
   * be or the buffer is too short.
   */
  static create(buffer: ArrayBuffer, options: FlowMemoryOptions): FlowMemory {
    const lengthBytes = flowMemoryBytes(options);
    if (buffer.byteLength < lengthBytes) {
      throw new RangeError(`a flow memory of ${lengthBytes} bytes does not fit into ${buffer.byteLength}`);
    }
    const header = new Int32Array(buffer, 0, HEADER_BYTES / 4);
    header[HEADER_MAGIC] = 0;
    new Uint8Array(buffer).fill(0);
    header[HEADER_VERSION] = LAYOUT_VERSION;
    header[HEADER_CAPACITY] = options.capacity;
    header[HEADER_RECORD_BYTES] = RECORD_BYTES;
    header[HEADER_COUNTERS_BYTES] = COUNTERS_BYTES;
    header[HEADER_TRANSLATION_BYTES] = sectionBytes('translationBytes', options.translationBytes);
    header[HEADER_HELD_TUPLE_BYTES] = sectionBytes('heldTupleBytes', options.heldTupleBytes);
    header.set(bootIdWords(options.bootId), HEADER_BOOT_ID);
    header.set(options.hashSeed ?? crypto.getRandomValues(new Int32Array(2)), HEADER_HASH_SEED);
    header[HEADER_MAGIC] = MAGIC;
    return new FlowMemory(buffer, header);
  }

  /**
   * Opens a flow memory that is already there, and writes nothing. With `expected` it must be one that
   * {@link FlowMemory.create} would make from these options (the seed aside); without, any whole one will do
   * (a reader that takes the sizes from the file).
   */
  static open(buffer: ArrayBuffer, expected?: FlowMemoryOptions): FlowMemoryResult {
    if (buffer.byteLength < HEADER_BYTES) {
      return refuse('truncated', `${buffer.byteLength} bytes are less than a header of ${HEADER_BYTES}`);
    }
    const header = new Int32Array(buffer, 0, HEADER_BYTES / 4);
    if (header[HEADER_MAGIC] !== MAGIC) return refuse('not_flow_memory', 'the magic number is missing');
    if (header[HEADER_VERSION] !== LAYOUT_VERSION) {
      return refuse('other_layout', `layout version ${header[HEADER_VERSION]}, not ${LAYOUT_VERSION}`);
    }
    if (header[HEADER_RECORD_BYTES] !== RECORD_BYTES || header[HEADER_COUNTERS_BYTES] !== COUNTERS_BYTES) {
      return refuse('other_layout', 'records or counters have another size');
    }
    const found = storedSizes(header);
    if (found === undefined) return refuse('other_layout', 'the sizes in the header cannot be');
    if (expected !== undefined && !sameSizes(found, expected)) {
      return refuse(
        'other_size',
        `made for ${found.capacity} flows, ${found.translationBytes} bytes of translation and ` +
          `${found.heldTupleBytes} of held tuples`,
      );
    }
    const lengthBytes = flowMemoryBytes(found);
    if (buffer.byteLength < lengthBytes) {
      return refuse('truncated', `${buffer.byteLength} bytes of ${lengthBytes}`);
    }
    if (expected !== undefined) {
      const bootId = bootIdWords(expected.bootId);
      for (let word = 0; word < bootId.length; word++) {
        if (header[HEADER_BOOT_ID + word] !== bootId[word]) {
          return refuse('other_boot', 'written before the last boot');
        }
      }
    }
    return { usable: true, memory: new FlowMemory(buffer, header) };
  }

  /** When the data plane last said that it is alive, milliseconds since boot as int32; 0 if it never did. */
  get lastAliveMs(): number {
    return this.header[HEADER_LAST_ALIVE]!;
  }

  set lastAliveMs(nowMs: number) {
    this.header[HEADER_LAST_ALIVE] = nowMs;
  }

  /**
   * Names of the plugins, in the order in which the records know them (`SHARED_PLUGINS`); undefined if nobody can
   * say, as while the records are being changed.
   */
  get plugins(): readonly string[] | undefined {
    return pluginNames(this.header);
  }

  set plugins(names: readonly string[] | undefined) {
    this.header[HEADER_PLUGINS] = 0;
    if (names === undefined) return;
    // A word in front, so that the text of no names is not empty.
    const text = new TextEncoder().encode(['plugins', ...names].join('\n'));
    if (text.length > MAX_PLUGIN_TEXT_BYTES) return;
    new Uint8Array(this.buffer, (HEADER_PLUGINS + 1) * 4).set(text);
    this.header[HEADER_PLUGINS] = text.length;
  }

  /** Id of the flow created last, 0 if there was none: so that ids do not recur after a restart. */
  get newestFlowId(): number {
    return this.header[HEADER_NEWEST_ID]!;
  }

  set newestFlowId(id: number) {
    this.header[HEADER_NEWEST_ID] = id;
  }
}

/** What a reader can tell from the first {@link FLOW_MEMORY_HEADER_BYTES} of a file; undefined if it is another's. */
export function readFlowMemoryHeader(
  buffer: ArrayBuffer,
): { readonly runningPlugin: number; readonly plugins: readonly string[] | undefined } | undefined {
  const header = new Int32Array(buffer, 0, HEADER_BYTES / 4);
  if (header[HEADER_MAGIC] !== MAGIC || header[HEADER_VERSION] !== LAYOUT_VERSION) return undefined;
  return { runningPlugin: header[HEADER_RUNNING_PLUGIN]!, plugins: pluginNames(header) };
}

function pluginNames(header: Int32Array): readonly string[] | undefined {
  const lengthBytes = header[HEADER_PLUGINS]!;
  if (lengthBytes <= 0 || lengthBytes > MAX_PLUGIN_TEXT_BYTES) return undefined;
  const text = new Uint8Array(header.buffer, header.byteOffset + (HEADER_PLUGINS + 1) * 4, lengthBytes);
  return new TextDecoder().decode(text).split('\n').slice(1);
}

function refuse(refusal: FlowMemoryRefusal, text: string): FlowMemoryResult {
  return { usable: false, refusal, text };
}

/** A section's length, rounded up to whole cache lines. */
function sectionBytes(name: string, bytes: number): number {
  if (!Number.isInteger(bytes) || bytes < 0 || bytes > MAX_SECTION_BYTES) {
    throw new RangeError(`${name} must be an integer from 0 to ${MAX_SECTION_BYTES}, not ${bytes}`);
  }
  return Math.ceil(bytes / 64) * 64;
}

/** The sizes in a header, or undefined if no flow memory can have them. */
function storedSizes(header: Int32Array): FlowMemoryOptions | undefined {
  const capacity = header[HEADER_CAPACITY]!;
  const translationBytes = header[HEADER_TRANSLATION_BYTES]!;
  const heldTupleBytes = header[HEADER_HELD_TUPLE_BYTES]!;
  if (capacity < 1 || capacity > MAX_FLOWS) return undefined;
  if (translationBytes < 0 || translationBytes % 64 !== 0) return undefined;
  if (heldTupleBytes < 0 || heldTupleBytes % 64 !== 0) return undefined;
  return { capacity, translationBytes, heldTupleBytes, bootId: '' };
}

function sameSizes(found: FlowMemoryOptions, expected: FlowMemoryOptions): boolean {
  return (
    found.capacity === expected.capacity &&
    found.translationBytes === sectionBytes('translationBytes', expected.translationBytes) &&
    found.heldTupleBytes === sectionBytes('heldTupleBytes', expected.heldTupleBytes)
  );
}

/** The 128 bits of a UUID as four words. Throws a RangeError if it is not one. */
function bootIdWords(bootId: string): Int32Array {
  const digits = bootId.trim().replaceAll('-', '');
  if (!/^[0-9a-f]{32}$/i.test(digits)) throw new RangeError(`a boot id must be a UUID, not ${bootId}`);
  const words = new Int32Array(4);
  for (let word = 0; word < 4; word++)
    words[word] = Number.parseInt(digits.slice(word * 8, word * 8 + 8), 16);
  return words;
}
