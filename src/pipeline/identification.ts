/**
 * Fresh identifications for packets that are cut, or may be cut, behind us.
 *
 * An identification must be unique for source, destination and protocol while fragments of it may be about (RFC
 * 6864, 4.2), and one destination's must not tell another's (RFC 7739). So, in the manner of RFC 7739, 5.3:
 * each tuple counts on one of several counters, from a starting point of its own:
 *
 * ```
 *  tuple  = source, destination, protocol of the packet as it leaves
 *  hash   = KeyedHash(tuple)
 *  identification = hash's high bits + counters[hash's low bits]++        counters: random at start
 * ```
 *
 * Equal tuples always share a counter, so that an identification comes again only when the counter has gone
 * round: after 65536 packets (IPv4) or 2^32 (IPv6). Tuples that happen to share a counter only skip values.
 *
 * Neighbours: `fragmentation.ts`, `departure.ts`, `keyed-hash.ts`.
 */
import { IPV4, type PacketView } from '../wire/packet.ts';
import { KeyedHash } from './keyed-hash.ts';
import { segmentsOf } from './segments.ts';

const COUNTERS = 8192;

export class Identifications {
  private readonly hash: KeyedHash;
  private readonly counters: Int32Array;

  /** The key: two random int32 words, secret, drawn anew at every start. */
  constructor(key0: number, key1: number) {
    this.hash = new KeyedHash(key0, key1);
    this.counters = new Int32Array(COUNTERS);
    const starts = new KeyedHash(~key1, ~key0);
    for (let index = 0; index < COUNTERS; index++) {
      starts.begin();
      starts.add(index);
      this.counters[index] = starts.finish();
    }
  }

  /**
   * A fresh identification for a packet with the view's addresses and protocol, which must be those it leaves
   * with: 0..65535 for IPv4, any int32 for IPv6, host order. Of a GSO packet that of its first segment; those of the
   * others follow, one by one.
   */
  next(view: PacketView): number {
    const hash = this.hash;
    const ipv4 = view.family === IPV4;
    hash.begin();
    hash.add(view.src3);
    hash.add(view.dst3);
    if (ipv4) {
      hash.add(view.protocol);
    } else {
      // Not the protocol: receivers do not look at it (RFC 8200, 4.5).
      hash.add(view.src0);
      hash.add(view.src1);
      hash.add(view.src2);
      hash.add(view.dst0);
      hash.add(view.dst1);
      hash.add(view.dst2);
    }
    const tuple = hash.finish();
    const index = tuple & (COUNTERS - 1);
    const count = this.counters[index];
    this.counters[index] = count + segmentsOf(view);
    return ipv4 ? ((tuple >>> 13) + count) & 0xffff : (Math.imul(tuple >>> 13, 0x9e3779b1) + count) | 0;
  }
}
