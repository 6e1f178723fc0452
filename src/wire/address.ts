/**
 * IPv4 and IPv6 addresses and prefixes: text, words, comparison, special purposes
 * (RFC 4291 2.2, RFC 5952, RFC 6943 3.1.1, RFC 6890).
 *
 * An address is four int32 words in wire order, as in `wire/packet.ts`: an IPv4 address in word 3, the others 0.
 * The functions that take single words (`isPrivateAddress`, `prefixContainsWords`) allocate nothing and may run for a
 * packet; everything else is for the control path. Not supported: zone identifiers, IPv4 in other than four
 * decimal parts (leading zeros are refused: some read them as octal).
 */
import { readWord, swap32, writeWord } from './byte-order.ts';
import { IPV4, IPV6 } from './packet.ts';

/** An address and its family, {@link IPV4} or {@link IPV6}. */
export interface Address {
  readonly family: number;
  /** Four words, wire order. */
  readonly words: Int32Array;
}

/** A prefix: host bits of `words` are 0. */
export interface Prefix extends Address {
  /** 0..32 or 0..128. */
  readonly length: number;
}

/** What is wrong with the text of a prefix. */
export type PrefixErrorCode = 'no_length' | 'bad_address' | 'bad_length' | 'host_bits';

export type PrefixResult =
  | { readonly ok: true; readonly prefix: Prefix }
  | { readonly ok: false; readonly code: PrefixErrorCode; readonly message: string };

/** An interface address: an address within its prefix. */
export type InterfaceAddressResult =
  | { readonly ok: true; readonly address: Address; readonly prefix: Prefix }
  | { readonly ok: false; readonly code: PrefixErrorCode; readonly message: string };

/** What an address is for. `private` is RFC 1918, shared address space (RFC 6598) and unique local (RFC 4193). */
export type AddressPurpose =
  | 'unspecified'
  | 'loopback'
  | 'link_local'
  | 'multicast'
  | 'broadcast'
  | 'private'
  | 'documentation'
  | 'reserved'
  | 'global';

/** Reads `192.0.2.1` into a word, wire order; undefined if the text is no IPv4 address. */
export function parseIpv4(text: string): number | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (match === null) return undefined;
  let word = 0;
  for (let index = 0; index < 4; index++) {
    const part = match[index + 1] as string;
    const value = Number(part);
    if (value > 255 || (part.length > 1 && part.startsWith('0'))) return undefined;
    word |= value << (index * 8);
  }
  return word;
}

/** Reads one side of `::` into 16-bit groups; undefined if it is wrong. `text` may be empty. */
function parseGroups(text: string, mayEndInIpv4: boolean): number[] | undefined {
  if (text === '') return [];
  const groups: number[] = [];
  const parts = text.split(':');
  for (let index = 0; index < parts.length; index++) {
    const part = parts[index] as string;
    if (index === parts.length - 1 && mayEndInIpv4 && part.includes('.')) {
      const word = parseIpv4(part);
      if (word === undefined) return undefined;
      const value = swap32(word);
      groups.push(value >>> 16, value & 0xffff);
    } else {
      if (!/^[0-9a-f]{1,4}$/i.test(part)) return undefined;
      groups.push(Number.parseInt(part, 16));
    }
  }
  return groups;
}

function parseIpv6(text: string): Int32Array | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const isCompressed = halves.length === 2;
  const head = parseGroups(halves[0] as string, !isCompressed);
  const tail = isCompressed ? parseGroups(halves[1] as string, true) : [];
  if (head === undefined || tail === undefined) return undefined;
  const missing = 8 - head.length - tail.length;
  if (isCompressed ? missing < 1 : missing !== 0) return undefined;
  const groups = [...head, ...new Array<number>(missing).fill(0), ...tail];
  const words = new Int32Array(4);
  for (let index = 0; index < 4; index++) {
    const high = groups[index * 2] as number;
    const low = groups[index * 2 + 1] as number;
    words[index] = swap32((high << 16) | low);
  }
  return words;
}

/** Reads an address of either family; undefined if the text is none. */
export function parseAddress(text: string): Address | undefined {
  if (text.includes(':')) {
    const words = parseIpv6(text);
    return words === undefined ? undefined : { family: IPV6, words };
  }
  const word = parseIpv4(text);
  return word === undefined ? undefined : { family: IPV4, words: Int32Array.of(0, 0, 0, word) };
}

/** A word in wire order as `192.0.2.1`. */
export function formatIpv4(word: number): string {
  return `${word & 0xff}.${(word >>> 8) & 0xff}.${(word >>> 16) & 0xff}.${word >>> 24}`;
}

/** Four words in wire order as text: RFC 5952 for IPv6, `word3` alone for IPv4. */
export function formatAddressWords(
  family: number,
  word0: number,
  word1: number,
  word2: number,
  word3: number,
): string {
  if (family === IPV4) return formatIpv4(word3);
  if (word0 === 0 && word1 === 0 && word2 === MAPPED_WORD2) return `::ffff:${formatIpv4(word3)}`;
  const groups: number[] = [];
  for (const word of [word0, word1, word2, word3]) {
    const value = swap32(word);
    groups.push(value >>> 16, value & 0xffff);
  }
  // The longest run of zero groups, the first of equals, is shortened, but never a single group.
  let runStart = -1;
  let runLength = 1;
  for (let start = 0; start < 8; start++) {
    let length = 0;
    while (start + length < 8 && groups[start + length] === 0) length++;
    if (length > runLength) {
      runStart = start;
      runLength = length;
    }
  }
  const hex = (part: number[]): string => part.map((group) => group.toString(16)).join(':');
  if (runStart < 0) return hex(groups);
  return `${hex(groups.slice(0, runStart))}::${hex(groups.slice(runStart + runLength))}`;
}

/** An address as text (RFC 5952 for IPv6). */
export function formatAddress(address: Address): string {
  const words = address.words;
  return formatAddressWords(address.family, words[0], words[1], words[2], words[3]);
}

/** A prefix as `address/length`. */
export function formatPrefix(prefix: Prefix): string {
  return `${formatAddress(prefix)}/${prefix.length}`;
}

/** Bits of an address of this family. */
export function addressBits(family: number): number {
  return family === IPV4 ? 32 : 128;
}

/**
 * Mask of one word (0..3), wire order, for a prefix length.
 *
 * @param length in bits; of an IPv4 prefix, 0..32, which concerns word 3 only
 */
export function prefixMaskWord(family: number, length: number, index: number): number {
  const bits = family === IPV4 ? (index === 3 ? length : 32) : length - index * 32;
  if (bits <= 0) return 0;
  if (bits >= 32) return -1;
  return swap32(-1 << (32 - bits));
}

/** The prefix of this length that `address` lies in. */
export function prefixOf(address: Address, length: number): Prefix {
  const words = new Int32Array(4);
  for (let index = 0; index < 4; index++) {
    words[index] = address.words[index] & prefixMaskWord(address.family, length, index);
  }
  return { family: address.family, words, length };
}

/** Reads `address/length` where the address may have host bits, as on an interface. */
export function parseInterfaceAddress(text: string): InterfaceAddressResult {
  const slash = text.indexOf('/');
  const addressText = slash < 0 ? text : text.slice(0, slash);
  const address = parseAddress(addressText);
  if (address === undefined) {
    return { ok: false, code: 'bad_address', message: `"${addressText}" is not an IPv4 or IPv6 address` };
  }
  const bits = addressBits(address.family);
  if (slash < 0) {
    return { ok: false, code: 'no_length', message: `a length is missing: "${addressText}/${bits}"?` };
  }
  const lengthText = text.slice(slash + 1);
  const length = /^(0|[1-9]\d{0,2})$/.test(lengthText) ? Number(lengthText) : Number.POSITIVE_INFINITY;
  if (length > bits) {
    return { ok: false, code: 'bad_length', message: `"/${lengthText}" is not a length from /0 to /${bits}` };
  }
  return { ok: true, address, prefix: prefixOf(address, length) };
}

/** Reads `address/length`; host bits must be 0. */
export function parsePrefix(text: string): PrefixResult {
  const result = parseInterfaceAddress(text);
  if (!result.ok) return result;
  const { address, prefix } = result;
  if (!addressEquals(address, prefix)) {
    const message = `"${text}" has host bits set: the prefix is "${formatPrefix(prefix)}"`;
    return { ok: false, code: 'host_bits', message };
  }
  return { ok: true, prefix };
}

/** Whether two addresses are of one family and equal. */
export function addressEquals(a: Address, b: Address): boolean {
  return a.family === b.family && a.words.every((word, index) => word === b.words[index]);
}

/** Whether an address, given as words, lies in the prefix. Allocates nothing. */
export function prefixContainsWords(
  prefix: Prefix,
  family: number,
  word0: number,
  word1: number,
  word2: number,
  word3: number,
): boolean {
  if (prefix.family !== family) return false;
  const words = prefix.words;
  const length = prefix.length;
  return (
    ((word3 ^ words[3]) & prefixMaskWord(family, length, 3)) === 0 &&
    ((word0 ^ words[0]) & prefixMaskWord(family, length, 0)) === 0 &&
    ((word1 ^ words[1]) & prefixMaskWord(family, length, 1)) === 0 &&
    ((word2 ^ words[2]) & prefixMaskWord(family, length, 2)) === 0
  );
}

/** Whether `address` lies in `prefix`. */
export function prefixContains(prefix: Prefix, address: Address): boolean {
  const words = address.words;
  return prefixContainsWords(prefix, address.family, words[0], words[1], words[2], words[3]);
}

/** Whether all of `inner` lies in `outer`. */
export function prefixContainsPrefix(outer: Prefix, inner: Prefix): boolean {
  return inner.length >= outer.length && prefixContains(outer, inner);
}

/** Whether two prefixes have an address in common. */
export function prefixesOverlap(a: Prefix, b: Prefix): boolean {
  return a.length <= b.length ? prefixContains(a, b) : prefixContains(b, a);
}

/** Four words at `at` in `bytes`: 4 bytes for IPv4, 16 for IPv6. Allocates. */
export function readAddress(bytes: Uint8Array, at: number, family: number): Address {
  if (family === IPV4) return { family, words: Int32Array.of(0, 0, 0, readWord(bytes, at)) };
  const words = new Int32Array(4);
  for (let index = 0; index < 4; index++) words[index] = readWord(bytes, at + index * 4);
  return { family, words };
}

/** Writes the bytes of an address at `at`: 4 for IPv4, 16 for IPv6. Returns how many. */
export function writeAddress(bytes: Uint8Array, at: number, address: Address): number {
  if (address.family === IPV4) {
    writeWord(bytes, at, address.words[3]);
    return 4;
  }
  for (let index = 0; index < 4; index++) writeWord(bytes, at + index * 4, address.words[index]);
  return 16;
}

/** Word 2 of an IPv4-mapped IPv6 address (::ffff:0:0/96), wire order. */
const MAPPED_WORD2 = 0xffff0000 | 0;

/**
 * Whether an address, given by its first and last word (wire order), is private: RFC 1918, shared address space,
 * unique local. Allocates nothing.
 *
 * @param word0 IPv6: the first word
 * @param word3 IPv4: the address
 */
export function isPrivateAddress(family: number, word0: number, word3: number): boolean {
  if (family !== IPV4) return (word0 & 0xfe) === 0xfc;
  const first = word3 & 0xff;
  const second = (word3 >>> 8) & 0xff;
  if (first === 10) return true;
  if (first === 172) return (second & 0xf0) === 16;
  if (first === 192) return second === 168;
  return first === 100 && (second & 0xc0) === 64;
}

function classifyIpv4(word: number): AddressPurpose {
  const first = word & 0xff;
  const second = (word >>> 8) & 0xff;
  const third = (word >>> 16) & 0xff;
  if (word === 0) return 'unspecified';
  if (word === -1) return 'broadcast';
  if (first === 127) return 'loopback';
  if (first === 169 && second === 254) return 'link_local';
  if (first >= 224 && first < 240) return 'multicast';
  if (first === 0 || first >= 240) return 'reserved';
  if (isPrivateAddress(IPV4, 0, word)) return 'private';
  if (first === 192 && second === 0 && third === 2) return 'documentation';
  if (first === 198 && second === 51 && third === 100) return 'documentation';
  if (first === 203 && second === 0 && third === 113) return 'documentation';
  return 'global';
}

/** What an address is for. */
export function classifyAddress(address: Address): AddressPurpose {
  const words = address.words;
  if (address.family === IPV4) return classifyIpv4(words[3]);
  const first = words[0] & 0xff;
  const second = (words[0] >>> 8) & 0xff;
  if (words[0] === 0 && words[1] === 0 && words[2] === 0) {
    if (words[3] === 0) return 'unspecified';
    return words[3] === 0x01000000 ? 'loopback' : 'reserved';
  }
  if (words[0] === 0 && words[1] === 0 && words[2] === MAPPED_WORD2) return 'reserved';
  if (first === 0xff) return 'multicast';
  if (first === 0xfe && (second & 0xc0) === 0x80) return 'link_local';
  if (isPrivateAddress(IPV6, words[0], words[3])) return 'private';
  // 2001:db8::/32 (RFC 3849) and 3fff::/20 (RFC 9637).
  if (words[0] === (0xb80d0120 | 0)) return 'documentation';
  if (first === 0x3f && second === 0xff && ((words[0] >>> 16) & 0xf0) === 0) return 'documentation';
  return 'global';
}
