/**
 * Finds GRE ports by what a packet's outer headers say. Made with every plan, never changed.
 *
 * A packet belongs to a tunnel if device, both outer addresses and the key are exactly the tunnel's; a tunnel
 * without a key takes only packets without one. Nothing else decides, least of all what is inside.
 *
 * ```
 *   packet      device, addresses, key ─► slots (open addressing) ─► port
 *   fragment    device, addresses      ─► one of the ports with these ends ─► the next ─► ...
 *   ICMP quote  device, addresses
 * ```
 *
 * Neighbours: `gre-input.ts`, `outer-icmp.ts` (ask), `gre-tunnel.ts`.
 */
import type { IpAddresses } from '../../wire/ip-addresses.ts';
import type { AddressList } from './link-device.ts';
import type { LinkPort } from './link-port.ts';

const NONE = -1;

export class GreTunnelTable {
  /** All GRE ports. */
  readonly ports: readonly LinkPort[];
  /** Next of the ports with the same device and ends, by index in `ports`; -1 at the end. */
  readonly nextBetween: Int32Array;
  private readonly slots: Int32Array;
  private readonly firstBetween: Int32Array;
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
    this.slots = new Int32Array(size).fill(NONE);
    this.firstBetween = new Int32Array(size).fill(NONE);
    this.nextBetween = new Int32Array(this.ports.length).fill(NONE);
    for (let index = 0; index < this.ports.length; index++) this.add(index);
  }

  /** The port of a received packet with these outer addresses and this key, or undefined. */
  find(device: number, outer: IpAddresses, hasKey: number, key: number): LinkPort | undefined {
    let slot = hashWithKey(hashEnds(device, outer.src1 ^ outer.src3, outer.dst3), hasKey, key) & this.mask;
    for (;;) {
      const index = this.slots[slot];
      if (index < 0) return undefined;
      const port = this.ports[index];
      const tunnel = port.tunnel!;
      if (port.device === device && tunnel.key === key && tunnel.hasKey === hasKey && tunnel.isFrom(outer)) {
        return port;
      }
      slot = (slot + 1) & this.mask;
    }
  }

  /**
   * Index in `ports` of the first whose packets have these outer addresses on this device, whatever their key, or
   * -1: for fragments, which do not show one. The others follow by `nextBetween`.
   */
  findFrom(device: number, outer: IpAddresses): number {
    let slot = hashEnds(device, outer.src1 ^ outer.src3, outer.dst3) & this.mask;
    for (;;) {
      const index = this.firstBetween[slot];
      if (index < 0) return NONE;
      if (this.ports[index].device === device && this.ports[index].tunnel!.isFrom(outer)) return index;
      slot = (slot + 1) & this.mask;
    }
  }

  /** The same by the addresses of a packet that we sent. */
  findTo(device: number, outer: IpAddresses): number {
    let slot = hashEnds(device, outer.dst1 ^ outer.dst3, outer.src3) & this.mask;
    for (;;) {
      const index = this.firstBetween[slot];
      if (index < 0) return NONE;
      if (this.ports[index].device === device && this.ports[index].tunnel!.isTo(outer)) return index;
      slot = (slot + 1) & this.mask;
    }
  }

  /** Whether an address is the own end of any tunnel, on whatever device. */
  isLocal(family: number, word0: number, word1: number, word2: number, word3: number): boolean {
    return this.locals.has(family, word0, word1, word2, word3);
  }

  private add(index: number): void {
    const port = this.ports[index];
    const tunnel = port.tunnel!;
    const ends = hashEnds(port.device, tunnel.remote[1] ^ tunnel.remote[3], tunnel.local[3]);
    let slot = ends & this.mask;
    while (this.firstBetween[slot] >= 0) {
      const first = this.firstBetween[slot];
      const other = this.ports[first];
      if (other.device === port.device && other.tunnel!.hasEndsOf(tunnel)) break;
      slot = (slot + 1) & this.mask;
    }
    for (let other = this.firstBetween[slot]; other >= 0; other = this.nextBetween[other]) {
      if (this.ports[other].tunnel!.isLike(tunnel)) {
        throw new Error(`plan: port ${port.index}: another tunnel has the same device, endpoints and key`);
      }
    }
    this.nextBetween[index] = this.firstBetween[slot];
    this.firstBetween[slot] = index;
    slot = hashWithKey(ends, tunnel.hasKey, tunnel.key) & this.mask;
    while (this.slots[slot] >= 0) slot = (slot + 1) & this.mask;
    this.slots[slot] = index;
  }
}

/** `remote`: words 1 and 3 of the other end's address together, of which one is 0 for IPv4. */
function hashEnds(device: number, remote: number, local: number): number {
  const value = Math.imul(remote ^ Math.imul(device + 1, 0x9e3779b1), 0x85ebca6b) ^ local;
  return mix(Math.imul(value ^ (value >>> 15), 0xc2b2ae35));
}

function hashWithKey(ends: number, hasKey: number, key: number): number {
  return mix(ends ^ key ^ hasKey);
}

function mix(value: number): number {
  const mixed = Math.imul(value ^ (value >>> 13), 0x27d4eb2f);
  return mixed ^ (mixed >>> 16);
}
