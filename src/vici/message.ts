/**
 * VICI messages: nested sections of named values and lists (strongSwan, `src/libcharon/plugins/vici/README.md`,
 * "Message format").
 *
 * ```
 *  element          1 byte  then
 *  SECTION_START    1       name                       opens a section in the one that is open
 *  SECTION_END      2                                  closes it
 *  KEY_VALUE        3       name, value
 *  LIST_START       4       name
 *  LIST_ITEM        5       value
 *  LIST_END         6
 *
 *  name             length: u8, 1..255      that many bytes of printable ASCII
 *  value            length: u16, big endian that many bytes, of any kind
 * ```
 *
 * Values are bytes: certificates and keys are among them. Sections are Maps, so that no name (`__proto__`) means
 * anything to JavaScript. A name that comes twice in a section is refused: which of them counts would be a guess.
 *
 * Neighbours: `packet.ts` (what a message travels in). This module imports nothing but the errors.
 */
import { ViciError } from './errors.ts';

const SECTION_START = 1;
const SECTION_END = 2;
const KEY_VALUE = 3;
const LIST_START = 4;
const LIST_ITEM = 5;
const LIST_END = 6;

const MAX_NAME_BYTES = 0xff;
const MAX_VALUE_BYTES = 0xffff;
/** strongSwan nests four deep; this bounds the work, and the stack, for anything else. */
const MAX_DEPTH = 32;

/** What a section holds under a name. Bytes belong to the section: they are no view of the receive buffer. */
export type ViciValue = Uint8Array | readonly Uint8Array[] | ViciSection;

/** A received section. The order is the sender's. */
export type ViciSection = ReadonlyMap<string, ViciValue>;

/** What can be sent as a value: text as UTF-8, numbers in decimal, booleans as `yes` and `no`. */
export type ViciScalar = string | number | boolean | Uint8Array;

/** What can be sent as a section. `undefined` members are left out. */
export interface ViciInput {
  readonly [name: string]: ViciScalar | readonly ViciScalar[] | ViciInput | undefined;
}

/**
 * Encodes a message.
 *
 * @throws ViciError `unsendable`, naming the member.
 */
export function encodeMessage(message: ViciInput): Uint8Array {
  const parts: Uint8Array[] = [];
  encodeSection(message, '', 0, parts);
  return Buffer.concat(parts);
}

function encodeSection(section: ViciInput, path: string, depth: number, parts: Uint8Array[]): void {
  if (depth > MAX_DEPTH) throw new ViciError('unsendable', `${path} is nested deeper than ${MAX_DEPTH}`);
  for (const [name, value] of Object.entries(section)) {
    if (value === undefined) continue;
    const at = path === '' ? name : `${path}.${name}`;
    const encodedName = encodeName(name, at);
    if (isScalar(value)) {
      parts.push(Uint8Array.of(KEY_VALUE), encodedName, encodeValue(value, at));
    } else if (Array.isArray(value)) {
      parts.push(Uint8Array.of(LIST_START), encodedName);
      for (const item of value) parts.push(Uint8Array.of(LIST_ITEM), encodeValue(item, at));
      parts.push(Uint8Array.of(LIST_END));
    } else {
      parts.push(Uint8Array.of(SECTION_START), encodedName);
      encodeSection(value as ViciInput, at, depth + 1, parts);
      parts.push(Uint8Array.of(SECTION_END));
    }
  }
}

function isScalar(value: ViciScalar | readonly ViciScalar[] | ViciInput): value is ViciScalar {
  return typeof value !== 'object' || value instanceof Uint8Array;
}

/** A name with its length in front. */
export function encodeName(name: string, at = name): Uint8Array {
  if (!isName(name) || name.length > MAX_NAME_BYTES) {
    const what = `a name of 1 to ${MAX_NAME_BYTES} printable ASCII characters`;
    throw new ViciError(
      'unsendable',
      `${at === '' ? 'an empty name' : at} cannot be sent: VICI wants ${what}`,
    );
  }
  return Buffer.concat([Uint8Array.of(name.length), Buffer.from(name, 'latin1')]);
}

function encodeValue(value: ViciScalar, at: string): Uint8Array {
  const text = typeof value === 'boolean' ? (value ? 'yes' : 'no') : value;
  const bytes = text instanceof Uint8Array ? text : Buffer.from(String(text), 'utf8');
  if (bytes.length > MAX_VALUE_BYTES) {
    throw new ViciError('unsendable', `${at} has ${bytes.length} bytes; VICI takes ${MAX_VALUE_BYTES}`);
  }
  return Buffer.concat([Uint8Array.of(bytes.length >>> 8, bytes.length & 0xff), bytes]);
}

function isName(text: string): boolean {
  return /^[\x20-\x7e]+$/.test(text);
}

/**
 * Decodes a message.
 *
 * @throws ViciError `protocol`, naming the byte where it stopped making sense.
 */
export function decodeMessage(bytes: Uint8Array): ViciSection {
  const reader = new Reader(bytes);
  const root = readSection(reader, 0);
  return root;
}

/** Reads elements up to the section's end, or the message's at the top. */
function readSection(reader: Reader, depth: number): ViciSection {
  if (depth > MAX_DEPTH) throw reader.fault(`sections are nested deeper than ${MAX_DEPTH}`);
  const section = new Map<string, ViciValue>();
  while (!reader.atEnd) {
    const element = reader.byte();
    if (element === SECTION_END && depth > 0) return section;
    if (element !== SECTION_START && element !== KEY_VALUE && element !== LIST_START) {
      throw reader.fault(`element ${element} cannot stand here`);
    }
    const name = reader.name();
    if (section.has(name)) throw reader.fault(`${name} is there twice`);
    if (element === KEY_VALUE) section.set(name, reader.value());
    else if (element === LIST_START) section.set(name, readList(reader));
    else section.set(name, readSection(reader, depth + 1));
  }
  if (depth > 0) throw reader.fault('a section has no end');
  return section;
}

function readList(reader: Reader): Uint8Array[] {
  const items: Uint8Array[] = [];
  for (;;) {
    const element = reader.byte();
    if (element === LIST_END) return items;
    if (element !== LIST_ITEM) throw reader.fault(`element ${element} cannot stand in a list`);
    items.push(reader.value());
  }
}

class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get atEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  byte(): number {
    if (this.atEnd) throw this.fault('it is cut off');
    return this.#bytes[this.#at++]!;
  }

  name(): string {
    const name = Buffer.from(this.#take(this.byte())).toString('latin1');
    if (!isName(name)) throw this.fault('a name is empty or not printable ASCII');
    return name;
  }

  value(): Uint8Array {
    const length = (this.byte() << 8) | this.byte();
    // Not `slice`, which gives a view where the bytes are a Buffer's.
    return new Uint8Array(this.#take(length));
  }

  fault(what: string): ViciError {
    return new ViciError('protocol', `a VICI message is wrong at byte ${this.#at}: ${what}`);
  }

  #take(lengthBytes: number): Uint8Array {
    if (lengthBytes > this.#bytes.length - this.#at) throw this.fault('it is cut off');
    const taken = this.#bytes.subarray(this.#at, this.#at + lengthBytes);
    this.#at += lengthBytes;
    return taken;
  }
}
