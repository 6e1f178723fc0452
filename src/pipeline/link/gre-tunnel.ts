/**
 * One GRE tunnel: its endpoints, its options, and what it counts.
 *
 * Neighbours: `gre-tunnel-table.ts` (finds it by a packet), `gre-encapsulation.ts`, `gre-decapsulation.ts`,
 * `outer-icmp.ts`.
 */

import type { Counters } from '../../flow/counters.ts';
import { GreHeader, greHeaderBytes, writeGre } from '../../wire/gre.ts';
import type { IpAddresses } from '../../wire/ip-addresses.ts';
import { IPV4_HEADER_BYTES } from '../../wire/ipv4.ts';
import { IPV6_HEADER_BYTES } from '../../wire/ipv6.ts';
import { IPV4 } from '../../wire/packet.ts';
import type { PlanGreLink } from '../plan.ts';
import { GreSequence } from './gre-sequence.ts';
import { addressWords } from './link-device.ts';
import { PathMtu } from './path-mtu.ts';
import { SentSequence } from './sent-sequence.ts';

export class GreTunnel {
  /** The same for two tunnels exactly if the same outer packets belong to them, but for the device. */
  readonly identity: string;
  /** Of the outer packets. */
  readonly family: number;
  /** Own outer address, wire-order words; IPv4 in the last. */
  readonly local: Int32Array;
  /** The other end's outer address. */
  readonly remote: Int32Array;
  /** 1 or 0. */
  readonly hasKey: number;
  /** Host order, int32; 0 without one. */
  readonly key: number;
  /** 1 or 0. */
  readonly hasChecksum: number;
  /** 1 or 0. */
  readonly hasSequence: number;
  readonly ttl: number;
  /** GRE header, bytes. */
  readonly greBytes: number;
  /** Outer IP header and GRE header, bytes. */
  readonly overheadBytes: number;
  /** The GRE header that we send, with sequence number 0: for recognising quotes of our packets. */
  readonly template: Uint8Array;
  /** What it sends next, if it has sequence numbers. */
  readonly sent: SentSequence;
  /** Next outer IPv4 identification of packets that nobody cuts: these are atomic (RFC 6864), so it need not be unique. */
  identification = 0;
  readonly received: GreSequence;
  readonly pathMtu: PathMtu;
  /** Keepalives answered since `keepaliveSince`. */
  keepalives = 0;
  keepaliveSince = 0;

  /**
   * @param port index of its port
   * @param mtu largest inner packet, bytes
   * @param previous whose counters go on, if its endpoints are the same
   * @param former tunnels of the plan before, by `identity`: the other end of one with the same ends and key
   *   does not know that it is another one now, so that its sequence numbers go on
   * @param counters where sequence numbers are kept
   */
  constructor(
    link: PlanGreLink,
    port: number,
    mtu: number,
    previous: GreTunnel | undefined,
    former: ReadonlyMap<string, GreTunnel>,
    counters: Counters | undefined,
  ) {
    const local = addressWords(link.local);
    const remote = addressWords(link.remote);
    const hop = link.nextHop === undefined ? local : addressWords(link.nextHop);
    if (local.family !== remote.family || local.family !== hop.family) {
      throw new Error(
        `plan: tunnel ${link.local} - ${link.remote}: endpoints and next hop differ in their address family`,
      );
    }
    this.family = local.family;
    this.local = local.words;
    this.remote = remote.words;
    this.hasKey = link.key === null ? 0 : 1;
    this.key = (link.key ?? 0) | 0;
    this.hasChecksum = link.checksum ? 1 : 0;
    this.hasSequence = link.sequence ? 1 : 0;
    this.ttl = link.ttl;
    this.greBytes = greHeaderBytes(this.hasChecksum, this.hasKey, this.hasSequence);
    this.overheadBytes = this.greBytes + (this.family === IPV4 ? IPV4_HEADER_BYTES : IPV6_HEADER_BYTES);
    const header = new GreHeader();
    header.hasChecksum = this.hasChecksum;
    header.hasKey = this.hasKey;
    header.hasSequence = this.hasSequence;
    header.key = this.key;
    this.template = new Uint8Array(this.greBytes);
    writeGre(this.template, 0, header);
    const same = previous !== undefined && this.isLike(previous) ? previous : undefined;
    const ends = [this.family, ...this.local, ...this.remote, this.hasKey, this.key];
    this.identity = ends.join();
    this.sent = new SentSequence(counters, port, ends, former.get(this.identity)?.sent.next);
    this.identification = same?.identification ?? 0;
    this.received = same?.received ?? new GreSequence();
    const outerMtu = mtu + this.overheadBytes;
    const isSamePath = same?.pathMtu.configured === outerMtu && same.overheadBytes === this.overheadBytes;
    this.pathMtu = isSamePath ? same.pathMtu : new PathMtu(outerMtu, this.overheadBytes, this.family);
    this.keepalives = same?.keepalives ?? 0;
    this.keepaliveSince = same?.keepaliveSince ?? 0;
  }

  /** Whether these are the addresses of a packet from the other end. */
  isFrom(packet: IpAddresses): boolean {
    return (
      this.family === packet.family &&
      isAddress(this.remote, packet.src0, packet.src1, packet.src2, packet.src3) &&
      isAddress(this.local, packet.dst0, packet.dst1, packet.dst2, packet.dst3)
    );
  }

  /** Whether these are the addresses of a packet of ours. */
  isTo(packet: IpAddresses): boolean {
    return (
      this.family === packet.family &&
      isAddress(this.local, packet.src0, packet.src1, packet.src2, packet.src3) &&
      isAddress(this.remote, packet.dst0, packet.dst1, packet.dst2, packet.dst3)
    );
  }

  /** Whether the other tunnel has the same two ends, whatever its key. */
  hasEndsOf(other: GreTunnel): boolean {
    const { local, remote } = other;
    return (
      this.family === other.family &&
      isAddress(this.local, local[0], local[1], local[2], local[3]) &&
      isAddress(this.remote, remote[0], remote[1], remote[2], remote[3])
    );
  }

  /** The same, and has the same key: nothing tells their packets apart. */
  isLike(other: GreTunnel): boolean {
    return this.hasKey === other.hasKey && this.key === other.key && this.hasEndsOf(other);
  }
}

function isAddress(own: Int32Array, word0: number, word1: number, word2: number, word3: number): boolean {
  return own[3] === word3 && own[0] === word0 && own[1] === word1 && own[2] === word2;
}
