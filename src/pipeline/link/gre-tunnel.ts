/**
 * One GRE tunnel: its endpoints, its options, and what it counts. And the table that finds it by a packet.
 *
 * A packet belongs to a tunnel if device, both outer addresses and the key are exactly the tunnel's; a tunnel
 * without a key takes only packets without one. Nothing else decides, least of all what is inside.
 *
 * Neighbours: `gre-encapsulation.ts`, `gre-decapsulation.ts`, `outer-icmp.ts`.
 */

import { GreHeader, greHeaderBytes, writeGre } from '../../wire/gre.ts';
import { IPV4_HEADER_BYTES } from '../../wire/ipv4.ts';
import { IPV6_HEADER_BYTES } from '../../wire/ipv6.ts';
import { IPV4 } from '../../wire/packet.ts';
import type { PlanGreLink } from '../plan.ts';
import { GreSequence } from './gre-sequence.ts';
import { type AddressList, addressWords } from './link-device.ts';
import type { LinkPort } from './link-port.ts';
import { PathMtu } from './path-mtu.ts';

export class GreTunnel {
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
  /** Next sequence number to send; counted even if none is sent. */
  sendSequence = 0;
  /** Next outer IPv4 identification. Outer packets are atomic (RFC 6864), so it need not be unique. */
  identification = 0;
  readonly received: GreSequence;
  readonly pathMtu: PathMtu;
  /** Keepalives answered since `keepaliveSince`. */
  keepalives = 0;
  keepaliveSince = 0;

  /** `mtu`: largest inner packet, bytes. `previous`: whose counters go on, if its endpoints are the same. */
  constructor(link: PlanGreLink, mtu: number, previous: GreTunnel | undefined) {
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
    const same = previous !== undefined && this.hasSameEnds(previous) ? previous : undefined;
    this.sendSequence = same?.sendSequence ?? 0;
    this.identification = same?.identification ?? 0;
    this.received = same?.received ?? new GreSequence();
    const outerMtu = mtu + this.overheadBytes;
    this.pathMtu = same?.pathMtu.configured === outerMtu ? same.pathMtu : new PathMtu(outerMtu, this.family);
    this.keepalives = same?.keepalives ?? 0;
    this.keepaliveSince = same?.keepaliveSince ?? 0;
  }

  /** Whether both outer addresses and the key (`hasKey` 1 or 0, `key` an int32) are this tunnel's. */
  matches(
    remote0: number,
    remote1: number,
    remote2: number,
    remote3: number,
    local0: number,
    local1: number,
    local2: number,
    local3: number,
    hasKey: number,
    key: number,
  ): boolean {
    const remote = this.remote;
    const local = this.local;
    return (
      remote[3] === remote3 &&
      local[3] === local3 &&
      this.hasKey === hasKey &&
      this.key === key &&
      remote[0] === remote0 &&
      remote[1] === remote1 &&
      remote[2] === remote2 &&
      local[0] === local0 &&
      local[1] === local1 &&
      local[2] === local2
    );
  }

  private hasSameEnds(other: GreTunnel): boolean {
    const remote = other.remote;
    const local = other.local;
    return (
      this.family === other.family &&
      this.matches(
        remote[0],
        remote[1],
        remote[2],
        remote[3],
        local[0],
        local[1],
        local[2],
        local[3],
        other.hasKey,
        other.key,
      )
    );
  }
}

/** Finds GRE ports by what a packet's outer headers say. Made with every plan, never changed. */
export class GreTunnelTable {
  /** All GRE ports. */
  readonly ports: readonly LinkPort[];
  private readonly slots: Int32Array;
  private readonly mask: number;
  private readonly locals: AddressList;

  /**
   * `locals`: own outer addresses of all tunnels, each once. Throws, and so refuses the plan, if no packet
   * could tell two tunnels apart.
   */
  constructor(ports: readonly (LinkPort | undefined)[], locals: AddressList) {
    this.locals = locals;
    this.ports = ports.filter((port) => port?.tunnel !== undefined) as LinkPort[];
    let size = 4;
    while (size < this.ports.length * 4) size *= 2;
    this.mask = size - 1;
    this.slots = new Int32Array(size).fill(-1);
    this.ports.forEach((port, index) => {
      const { remote, local, hasKey, key, family } = port.tunnel!;
      const words = [...remote, ...local] as [number, number, number, number, number, number, number, number];
      if (this.find(port.device, family, ...words, hasKey, key) !== undefined) {
        throw new Error(`plan: port ${port.index}: another tunnel has the same device, endpoints and key`);
      }
      let slot = hash(port.device, remote[3] ^ remote[1], local[3], hasKey, key) & this.mask;
      while (this.slots[slot] >= 0) slot = (slot + 1) & this.mask;
      this.slots[slot] = index;
    });
  }

  /** The port of a received packet (its source is the tunnel's remote), or undefined. Addresses in wire-order words. */
  find(
    device: number,
    family: number,
    source0: number,
    source1: number,
    source2: number,
    source3: number,
    destination0: number,
    destination1: number,
    destination2: number,
    destination3: number,
    hasKey: number,
    key: number,
  ): LinkPort | undefined {
    let slot = hash(device, source3 ^ source1, destination3, hasKey, key) & this.mask;
    for (;;) {
      const index = this.slots[slot];
      if (index < 0) return undefined;
      const port = this.ports[index];
      const tunnel = port.tunnel!;
      if (
        port.device === device &&
        tunnel.family === family &&
        tunnel.matches(
          source0,
          source1,
          source2,
          source3,
          destination0,
          destination1,
          destination2,
          destination3,
          hasKey,
          key,
        )
      ) {
        return port;
      }
      slot = (slot + 1) & this.mask;
    }
  }

  /** Whether any tunnel on the device has these ends, whatever its key: for fragments, which do not show one. */
  hasEnds(
    device: number,
    family: number,
    source0: number,
    source1: number,
    source2: number,
    source3: number,
    destination0: number,
    destination1: number,
    destination2: number,
    destination3: number,
  ): boolean {
    for (let index = 0; index < this.ports.length; index++) {
      const tunnel = this.ports[index].tunnel!;
      if (
        this.ports[index].device === device &&
        tunnel.family === family &&
        tunnel.matches(
          source0,
          source1,
          source2,
          source3,
          destination0,
          destination1,
          destination2,
          destination3,
          tunnel.hasKey,
          tunnel.key,
        )
      ) {
        return true;
      }
    }
    return false;
  }

  /** Whether an address is the own end of any tunnel, on whatever device. */
  isLocal(family: number, word0: number, word1: number, word2: number, word3: number): boolean {
    return this.locals.has(family, word0, word1, word2, word3);
  }
}

function hash(device: number, remote: number, local: number, hasKey: number, key: number): number {
  let value = Math.imul(remote ^ Math.imul(device + 1, 0x9e3779b1), 0x85ebca6b) ^ local;
  value = Math.imul(value ^ (value >>> 15), 0xc2b2ae35) ^ key ^ hasKey;
  value = Math.imul(value ^ (value >>> 13), 0x27d4eb2f);
  return value ^ (value >>> 16);
}
