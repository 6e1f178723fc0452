/**
 * A device as the link layer sees it: its own MAC, who is on its link, and what it answers for.
 *
 * Compiled from the plan by `compileDevices`; read on the packet's way, so everything is integers. One
 * device carries at most one port of whole frames or packets, and any number of GRE ports beside it.
 *
 * A MAC stands in an Ethernet header at the bytes +10 (destination) and +16 (source) of a frame, which is a
 * multiple of 4; so a destination is two bytes and a word, a source a word and two bytes:
 *
 * ```
 *  frame  +8          +12         +16         +20         +24
 *         |vnet |head |   tail    |   front   |rear |type |
 *                `- destination -'`---- source ---'
 * ```
 *
 * Neighbours: `neighbors.ts`, `link-layer.ts`.
 */
import { type Address, parseAddress, parseInterfaceAddress, prefixMaskWord } from '../../wire/address.ts';
import { readHalf, readWord } from '../../wire/byte-order.ts';
import { parseMac } from '../../wire/ethernet.ts';
import { FRAME_PREFIX_BYTES, VIRTIO_NET_HEADER_BYTES } from '../../wire/frame.ts';
import { IPV4, IPV6 } from '../../wire/packet.ts';
import type { AddressText, Plan, PlanDevice, PlanPort } from '../plan.ts';

/** A list of addresses, wire-order words, IPv4 in the last word of four; compared without allocation. */
export class AddressList {
  readonly words: Int32Array;
  readonly families: Uint8Array;

  constructor(addresses: readonly AddressText[]) {
    this.words = new Int32Array(addresses.length * 4);
    this.families = new Uint8Array(addresses.length);
    addresses.forEach((text, index) => {
      const address = addressWords(text);
      this.families[index] = address.family;
      this.words.set(address.words, index * 4);
    });
  }

  has(family: number, word0: number, word1: number, word2: number, word3: number): boolean {
    const words = this.words;
    for (let index = 0; index < this.families.length; index++) {
      const at = index * 4;
      if (
        words[at + 3] === word3 &&
        this.families[index] === family &&
        words[at] === word0 &&
        words[at + 1] === word1 &&
        words[at + 2] === word2
      ) {
        return true;
      }
    }
    return false;
  }

  /** Index of the first address of a family, or -1. */
  first(family: number): number {
    return this.families.indexOf(family);
  }
}

/** A list of prefixes as words and masks in wire order. */
export class PrefixList {
  private readonly words: Int32Array;
  private readonly masks: Int32Array;
  private readonly families: Uint8Array;
  /** Prefix lengths. */
  readonly lengths: Uint8Array;

  constructor(prefixes: readonly string[]) {
    this.words = new Int32Array(prefixes.length * 4);
    this.masks = new Int32Array(prefixes.length * 4);
    this.families = new Uint8Array(prefixes.length);
    this.lengths = new Uint8Array(prefixes.length);
    prefixes.forEach((text, index) => {
      const parsed = parseInterfaceAddress(text);
      if (!parsed.ok) throw new Error(`plan: ${text}: ${parsed.message}`);
      const { family, words, length } = parsed.prefix;
      this.families[index] = family;
      this.lengths[index] = length;
      this.words.set(words, index * 4);
      for (let word = 0; word < 4; word++) {
        this.masks[index * 4 + word] = prefixMaskWord(family, length, word);
      }
    });
  }

  /** Index of the first prefix that contains the address, or -1. */
  find(family: number, word0: number, word1: number, word2: number, word3: number): number {
    const words = this.words;
    const masks = this.masks;
    for (let index = 0; index < this.families.length; index++) {
      const at = index * 4;
      if (
        (word3 & masks[at + 3]) === words[at + 3] &&
        this.families[index] === family &&
        (word0 & masks[at]) === words[at] &&
        (word1 & masks[at + 1]) === words[at + 1] &&
        (word2 & masks[at + 2]) === words[at + 2]
      ) {
        return index;
      }
    }
    return -1;
  }

  /** Whether the IPv4 address is the network or the broadcast address of the prefix at `index` (not of /31, /32). */
  isIpv4Edge(index: number, word3: number): boolean {
    if (this.lengths[index] >= 31) return false;
    const host = word3 & ~this.masks[index * 4 + 3];
    return host === 0 || host === ~this.masks[index * 4 + 3];
  }
}

export class LinkDevice {
  readonly index: number;
  /** Changes when the link itself does: then nothing learnt on it holds any more. */
  readonly signature: string;
  /** 1: frames with an Ethernet header; 0: IP packets. */
  readonly isEthernet: number;
  /** From a frame's virtio-net header to where its `csum_start` counts from, bytes: see `device/native-io.ts`. */
  readonly checksumBaseBytes: number;
  /** Own MAC, six bytes. */
  readonly mac: Uint8Array;
  /** Own MAC as it stands in a destination field. */
  readonly macHead: number;
  readonly macTail: number;
  /** Own MAC as it stands in a source field. */
  readonly macFront: number;
  readonly macRear: number;
  /** Port that takes everything that is not GRE of ours, or -1. */
  readonly port: number;
  /** 1 if GRE ports use this device. */
  readonly hasGre: number;
  readonly onLink: PrefixList;
  /** Next hops of all ports on this device. */
  readonly nextHops: AddressList;
  /** Addresses we answer ARP and neighbour solicitations for. */
  readonly answers: AddressList;
  /** 1 if we are the host on this link (`answers` is not empty), with a link-local address of our own. */
  readonly isHost: number;
  /** The link-local address made from the MAC (RFC 4291, appendix A), words. */
  readonly linkLocal: Int32Array;
  /** Sender addresses of our own requests. */
  readonly sources: AddressList;
  /** Sender of our ARP requests, wire order; 0 (unspecified) if there is none. */
  readonly sourceIpv4: number;
  /** Sender of our neighbour solicitations; all 0 if there is none. */
  readonly sourceIpv6: Int32Array;

  constructor(device: PlanDevice, ports: readonly PlanPort[]) {
    const own = ports.filter((port) => port.link.device === device.index);
    const whole = own.find((port) => port.link.kind !== 'gre');
    const ethernet = whole?.link.kind === 'ethernet' ? whole.link : undefined;
    this.index = device.index;
    this.isEthernet = device.kind === 'ethernet' ? 1 : 0;
    this.checksumBaseBytes = this.isEthernet !== 0 ? VIRTIO_NET_HEADER_BYTES : FRAME_PREFIX_BYTES;
    const { name, kind, mac } = device;
    this.signature = JSON.stringify([name, kind, mac, whole?.index, whole?.generation, ethernet]);
    this.mac = ownMac(device);
    this.macHead = readHalf(this.mac, 0);
    this.macTail = readWord(this.mac, 2);
    this.macFront = readWord(this.mac, 0);
    this.macRear = readHalf(this.mac, 4);
    this.port = whole?.index ?? -1;
    this.hasGre = own.some((port) => port.link.kind === 'gre') ? 1 : 0;
    this.onLink = new PrefixList(ethernet?.onLink ?? []);
    this.nextHops = new AddressList(own.flatMap(nextHopsOf));
    this.answers = new AddressList(ethernet?.answers ?? []);
    this.isHost = this.answers.families.length > 0 ? 1 : 0;
    this.linkLocal = linkLocalOf(this.mac);
    this.sources = new AddressList(own.flatMap(sourcesOf));
    const ipv4 = this.sources.first(IPV4);
    this.sourceIpv4 = ipv4 < 0 ? 0 : this.sources.words[ipv4 * 4 + 3];
    const ipv6 = this.sources.first(IPV6);
    const given = ipv6 < 0 ? new Int32Array(4) : this.sources.words.slice(ipv6 * 4, ipv6 * 4 + 4);
    this.sourceIpv6 = this.isHost !== 0 && ipv6 < 0 ? this.linkLocal : given;
  }

  /** Whether we answer for this address. */
  isAnswered(family: number, word0: number, word1: number, word2: number, word3: number): boolean {
    if (this.isHost === 0) return false;
    return (
      this.answers.has(family, word0, word1, word2, word3) ||
      (family === IPV6 && this.isLinkLocal(word0, word1, word2, word3))
    );
  }

  /** Whether a neighbour of this address may be learnt from what it sends. */
  mayLearn(family: number, word0: number, word1: number, word2: number, word3: number): boolean {
    return (
      (family === IPV6 && (word0 & 0xc0ff) === 0x80fe) ||
      this.nextHops.has(family, word0, word1, word2, word3) ||
      this.onLink.find(family, word0, word1, word2, word3) >= 0
    );
  }

  /** Whether the address is one that our own requests are sent from, or that we answer for. */
  isOwn(family: number, word0: number, word1: number, word2: number, word3: number): boolean {
    return (
      this.isAnswered(family, word0, word1, word2, word3) ||
      this.sources.has(family, word0, word1, word2, word3)
    );
  }

  private isLinkLocal(word0: number, word1: number, word2: number, word3: number): boolean {
    const own = this.linkLocal;
    return word3 === own[3] && word2 === own[2] && word1 === own[1] && word0 === own[0];
  }
}

/** Devices of a plan by index. Throws, and so refuses the plan, if an address or MAC in it is none. */
export function compileDevices(plan: Plan): (LinkDevice | undefined)[] {
  const devices: (LinkDevice | undefined)[] = [];
  for (const device of plan.devices) devices[device.index] = new LinkDevice(device, plan.ports);
  for (let index = 0; index < devices.length; index++) devices[index] ??= undefined;
  return devices;
}

/** An address in a plan. Throws if it is none. */
export function addressWords(text: AddressText): Address {
  const address = parseAddress(text);
  if (address === undefined) throw new Error(`plan: "${text}" is not an IPv4 or IPv6 address`);
  return address;
}

function ownMac(device: PlanDevice): Uint8Array {
  if (device.kind !== 'ethernet') return new Uint8Array(6);
  const mac = parseMac(device.mac ?? '');
  if (mac === undefined) throw new Error(`plan: device ${device.name}: ${device.mac} is no MAC address`);
  return mac;
}

function nextHopsOf(port: PlanPort): AddressText[] {
  const link = port.link;
  if (link.kind === 'gre') return link.nextHop === undefined ? [] : [link.nextHop];
  if (link.kind === 'ip') return [];
  return [link.nextHop.ipv4, link.nextHop.ipv6].filter((address) => address !== undefined);
}

function sourcesOf(port: PlanPort): readonly AddressText[] {
  return port.link.kind === 'ip' ? [] : port.link.sourceAddresses;
}

function linkLocalOf(mac: Uint8Array): Int32Array {
  const bytes = Uint8Array.of(
    0xfe,
    0x80,
    0,
    0,
    0,
    0,
    0,
    0,
    ...mac.subarray(0, 3),
    0xff,
    0xfe,
    ...mac.subarray(3),
  );
  bytes[8] ^= 0x02;
  return Int32Array.of(readWord(bytes, 0), readWord(bytes, 4), readWord(bytes, 8), readWord(bytes, 12));
}
