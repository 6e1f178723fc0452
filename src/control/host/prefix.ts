/**
 * Addresses and prefixes as the classifier needs them: words in host order, compared under a mask.
 */
import { isIPv4, isIPv6 } from 'node:net';

export interface IpPrefix {
  readonly version: 4 | 6;
  /** As it was written, with the length. */
  readonly text: string;
  /** One word (IPv4) or four (IPv6), uint32 in host order, the first one first; host bits are zero. */
  readonly words: readonly number[];
  /** Same shape as `words`. */
  readonly masks: readonly number[];
}

/** A single address as a prefix of its full length. */
export function hostPrefix(address: string): IpPrefix {
  return parsePrefix(isIPv4(address) ? `${address}/32` : `${address}/128`);
}

/**
 * Reads `address/length`.
 *
 * @throws Error for anything else; the configuration has been checked before.
 */
export function parsePrefix(text: string): IpPrefix {
  const slash = text.indexOf('/');
  const address = text.slice(0, slash);
  const length = Number(text.slice(slash + 1));
  const words = addressWords(address);
  if (words === undefined || slash < 0 || !(length >= 0 && length <= words.length * 32)) {
    throw new Error(`${text} is not a prefix`);
  }
  const masks = words.map((_, at) => {
    const ones = Math.min(32, Math.max(0, length - 32 * at));
    return ones === 0 ? 0 : (0xffffffff << (32 - ones)) >>> 0;
  });
  return {
    version: words.length === 1 ? 4 : 6,
    text,
    words: words.map((word, at) => (word & masks[at]!) >>> 0),
    masks,
  };
}

/** The words of an address, host order; undefined if it is none. */
function addressWords(text: string): number[] | undefined {
  if (isIPv4(text)) {
    return [text.split('.').reduce((word, part) => word * 256 + Number(part), 0)];
  }
  if (!isIPv6(text) || text.includes('%')) return undefined;
  // An IPv4 tail (`::ffff:192.0.2.1`) is two groups.
  const groupsOf = (part: string): number[] =>
    part === ''
      ? []
      : part.split(':').flatMap((group) => {
          if (!isIPv4(group)) return [Number.parseInt(group, 16)];
          const word = addressWords(group)![0]!;
          return [word >>> 16, word & 0xffff];
        });
  const [head, tail] = text.split('::');
  const front = groupsOf(head!);
  const back = tail === undefined ? [] : groupsOf(tail);
  const groups = [...front, ...new Array<number>(8 - front.length - back.length).fill(0), ...back];
  return [0, 2, 4, 6].map((at) => groups[at]! * 65536 + groups[at + 1]!);
}

/** Without those that lie in another one of the list, or are there twice. All of one version. */
export function outermost(prefixes: readonly IpPrefix[]): IpPrefix[] {
  return prefixes.filter(
    (prefix, at) =>
      !prefixes.some((other, otherAt) => {
        const contains = other.words.every(
          (word, index) =>
            (other.masks[index]! & prefix.masks[index]!) >>> 0 === other.masks[index] &&
            (prefix.words[index]! & other.masks[index]!) >>> 0 === word,
        );
        const same = other.masks.every((mask, index) => mask === prefix.masks[index]);
        return contains && (!same || otherAt < at);
      }),
  );
}
