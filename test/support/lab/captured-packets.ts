/**
 * What a capture of the lab shows, frame by frame, as plain values: decoded with `src/wire`, GRE opened.
 *
 * Neighbours: `agent/captures.py` makes the files, `leak-check.ts` and `paths.ts` judge what is in them.
 */
import { readFileSync } from 'node:fs';
import { type CapturedPacket, LINKTYPE_ETHERNET } from '../../../src/device/capture.ts';
import { readPcap } from '../../../src/device/pcap.ts';
import { formatAddressWords, formatIpv4 } from '../../../src/wire/address.ts';
import {
  ARP_BYTES,
  arpOperation,
  arpSenderAddress,
  arpTargetAddress,
  isValidArp,
} from '../../../src/wire/arp.ts';
import { DECODE_BAD_DESTINATION, DECODE_BAD_SOURCE, DECODE_OK, decode } from '../../../src/wire/decode.ts';
import {
  ETHERNET_HEADER_BYTES,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  etherType,
} from '../../../src/wire/ethernet.ts';
import { FrameMemory } from '../../../src/wire/frame.ts';
import { GRE_OK, GreHeader, parseGre } from '../../../src/wire/gre.ts';
import { NDP_OK, NDP_OTHER, NdpMessage, parseNdp } from '../../../src/wire/ndp.ts';
import {
  ICMP_ERROR,
  ICMP_QUERY,
  type PacketView,
  PROTOCOL_GRE,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  PacketView as View,
} from '../../../src/wire/packet.ts';

export interface SeenIp {
  readonly what: 'ip';
  readonly family: number;
  readonly protocol: number;
  readonly source: string;
  readonly destination: string;
  /** ICMP queries: the identifier, where the kind of message puts it. */
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly ttl: number;
  readonly lengthBytes: number;
  /** Behind the transport header; of fragments but the first, everything behind the IP header. Latin-1. */
  readonly payload: string;
  /** 0: whole; 1: the first fragment; 2: another one. */
  readonly fragment: 0 | 1 | 2;
  readonly identification: number;
  readonly tcpFlags: number;
  /** int32. */
  readonly sequence: number;
  /** int32. */
  readonly acknowledgment: number;
  readonly icmpType: number;
  readonly icmpCode: number;
  readonly icmpKind: number;
  /** The packet that an ICMP error quotes, as much of it as there is. */
  readonly quoted: SeenIp | undefined;
  /** The tunnel that it came in, if it did. */
  readonly tunnel:
    | { readonly source: string; readonly destination: string; readonly key: number }
    | undefined;
}

/** ARP or neighbour discovery. */
export interface SeenNeighbor {
  readonly what: 'neighbor';
  readonly family: 4 | 6;
  readonly sender: string;
  readonly target: string;
}

/** Anything that is none of these: `why` says what. */
export interface SeenOther {
  readonly what: 'other';
  readonly why: string;
}

export type SeenFrame = (SeenIp | SeenNeighbor | SeenOther) & { readonly timestampNs: bigint };

type Seen = SeenIp | SeenNeighbor | SeenOther;

/** Room for the largest frame. */
const MEMORY_BYTES = 128 * 1024;
const ICMP_HEADER_BYTES = 8;
const UDP_HEADER_BYTES = 8;

const memory = new FrameMemory(new ArrayBuffer(MEMORY_BYTES));
const outerView: PacketView = new View(memory);
const ndp = new NdpMessage();
const gre = new GreHeader();

/** All frames of one direction of a capture (`CaptureJob.path`). Throws if the file is not sound. */
export function readCapture(path: string, direction: 'in' | 'out'): SeenFrame[] {
  const capture = readPcap(readFileSync(`${path}.${direction}.pcap`));
  if (capture.error !== undefined) throw capture.error;
  return capture.packets.map((packet) => ({ ...seeFrame(packet), timestampNs: packet.timestampNs }));
}

/** One captured frame. */
export function seeFrame({ data, linkType }: Pick<CapturedPacket, 'data' | 'linkType'>): Seen {
  if (linkType !== LINKTYPE_ETHERNET) return seeIp(data, undefined);
  if (data.length < ETHERNET_HEADER_BYTES) return { what: 'other', why: 'a truncated Ethernet frame' };
  const type = etherType(data, 0);
  const packet = data.subarray(ETHERNET_HEADER_BYTES);
  if (type === ETHERTYPE_ARP) return seeArp(packet);
  if (type === ETHERTYPE_IPV4 || type === ETHERTYPE_IPV6) return seeIp(packet, undefined);
  return { what: 'other', why: `EtherType 0x${type.toString(16)}` };
}

function seeArp(packet: Uint8Array): Seen {
  memory.bytes.set(packet.subarray(0, ARP_BYTES));
  if (!isValidArp(memory.bytes, 0, packet.length)) return { what: 'other', why: 'a malformed ARP message' };
  if (arpOperation(memory.bytes, 0) > 2) return { what: 'other', why: 'an ARP message of an unknown kind' };
  return {
    what: 'neighbor',
    family: 4,
    sender: formatIpv4(arpSenderAddress(memory.bytes, 0)),
    target: formatIpv4(arpTargetAddress(memory.bytes, 0)),
  };
}

function seeIp(packet: Uint8Array, tunnel: SeenIp['tunnel']): Seen {
  memory.bytes.set(packet);
  const found = parseNdp(memory, 0, packet.length, ndp);
  if (found === NDP_OK) {
    return {
      what: 'neighbor',
      family: 6,
      sender: formatAddressWords(6, ndp.src0, ndp.src1, ndp.src2, ndp.src3),
      target: formatAddressWords(6, ndp.target0, ndp.target1, ndp.target2, ndp.target3),
    };
  }
  if (found !== NDP_OTHER)
    return { what: 'other', why: 'a router solicitation, redirect or bad neighbour message' };
  const code = decode(outerView, 0, packet.length);
  if (code !== DECODE_OK && code !== DECODE_BAD_SOURCE && code !== DECODE_BAD_DESTINATION) {
    return { what: 'other', why: `an IP packet that does not decode (${code})` };
  }
  const view = outerView;
  if (view.protocol === PROTOCOL_GRE && view.fragment === 0 && tunnel === undefined) return openGre(view);
  return { ...describe(view, view.offset + view.length), tunnel };
}

function openGre(view: PacketView): Seen {
  const available = view.offset + view.length - view.l4Offset;
  if (parseGre(memory.bytes, view.l4Offset, available, gre) !== GRE_OK) {
    return { what: 'other', why: 'a malformed GRE packet' };
  }
  const tunnel = {
    source: formatAddressWords(view.family, view.src0, view.src1, view.src2, view.src3),
    destination: formatAddressWords(view.family, view.dst0, view.dst1, view.dst2, view.dst3),
    key: gre.key,
  };
  const inner = view.l4Offset + gre.headerBytes;
  return seeIp(memory.bytes.slice(inner, view.offset + view.length), tunnel);
}

function describe(view: PacketView, end: number): SeenIp {
  const later = view.fragment !== 0 && view.fragmentOffset !== 0;
  const { quoted } = view;
  const isError = !later && view.icmpKind === ICMP_ERROR && quoted !== undefined;
  return {
    what: 'ip',
    family: view.family,
    protocol: view.protocol,
    source: formatAddressWords(view.family, view.src0, view.src1, view.src2, view.src3),
    destination: formatAddressWords(view.family, view.dst0, view.dst1, view.dst2, view.dst3),
    sourcePort: view.sourcePort,
    destinationPort: view.destinationPort,
    ttl: view.ttl,
    lengthBytes: view.length,
    payload: textOf(later ? view.l4Offset : payloadAt(view), end),
    fragment: view.fragment === 0 ? 0 : later ? 2 : 1,
    identification: view.identification,
    tcpFlags: view.protocol === PROTOCOL_TCP ? view.tcpFlags : 0,
    sequence: view.sequence,
    acknowledgment: view.acknowledgment,
    icmpType: view.icmpType,
    icmpCode: view.icmpCode,
    icmpKind: later ? 0 : view.icmpKind,
    quoted: isError ? describe(quoted, end) : undefined,
    tunnel: undefined,
  };
}

function payloadAt(view: PacketView): number {
  switch (view.protocol) {
    case PROTOCOL_TCP:
      return view.payloadOffset;
    case PROTOCOL_UDP:
      return view.l4Offset + UDP_HEADER_BYTES;
    case PROTOCOL_ICMP:
    case PROTOCOL_ICMPV6:
      return view.l4Offset + ICMP_HEADER_BYTES;
    default:
      return view.l4Offset;
  }
}

function textOf(start: number, end: number): string {
  return start >= end ? '' : Buffer.from(memory.buffer, start, end - start).toString('latin1');
}

/** A packet in a line, for messages. */
export function describeSeen(seen: Seen): string {
  if (seen.what === 'other') return seen.why;
  if (seen.what === 'neighbor') return `${seen.sender} asks or tells about ${seen.target}`;
  const { source, sourcePort, destination, destinationPort } = seen;
  const kind = protocolName(seen);
  const inside =
    seen.tunnel === undefined
      ? ''
      : ` in GRE ${seen.tunnel.source} > ${seen.tunnel.destination} key ${seen.tunnel.key}`;
  const quoted = seen.quoted === undefined ? '' : ` quoting [${describeSeen(seen.quoted)}]`;
  return `${kind} ${source}.${sourcePort} > ${destination}.${destinationPort}, ${seen.lengthBytes} bytes${inside}${quoted}`;
}

function protocolName(seen: SeenIp): string {
  const fragment = seen.fragment === 0 ? '' : ' fragment';
  switch (seen.protocol) {
    case PROTOCOL_TCP:
      return `TCP${fragment} flags 0x${seen.tcpFlags.toString(16)}`;
    case PROTOCOL_UDP:
      return `UDP${fragment}`;
    case PROTOCOL_ICMP:
    case PROTOCOL_ICMPV6:
      return `ICMP${fragment} ${seen.icmpKind === ICMP_QUERY ? 'query' : ''} ${seen.icmpType}/${seen.icmpCode}`;
    default:
      return `protocol ${seen.protocol}${fragment}`;
  }
}
