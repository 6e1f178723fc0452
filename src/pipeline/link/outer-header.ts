/**
 * The outer IP header of a packet that may be a tunnel's: just enough of it to say whose, without the view that
 * the inner packet will need (RFC 791, RFC 8200).
 *
 * Extension headers in front of GRE are stepped over: Linux puts destination options with a tunnel
 * encapsulation limit (RFC 2473) there. A routing header is noted: such a packet is no tunnel's.
 *
 * Neighbours: `gre-input.ts` (asks), `gre-tunnel-table.ts` (finds the tunnel by it).
 */
import { readUint16 } from '../../wire/byte-order.ts';
import type { FrameMemory } from '../../wire/frame.ts';
import { IpAddresses } from '../../wire/ip-addresses.ts';
import {
  IPV4_FRAGMENT_OFFSET_MASK,
  IPV4_HEADER_BYTES,
  IPV4_MORE_FRAGMENTS,
  IPV4_PROTOCOL,
  ipv4Flags,
  ipv4HeaderBytes,
  ipv4TotalLength,
  verifyIpv4Checksum,
} from '../../wire/ipv4.ts';
import {
  IPV6_FRAGMENT_HEADER_BYTES,
  IPV6_FRAGMENT_OFFSET,
  IPV6_HEADER_BYTES,
  IPV6_NEXT_HEADER,
  ipv6ExtensionBytes,
  ipv6PayloadLength,
  ipv6TrafficClass,
} from '../../wire/ipv6.ts';
import {
  IPV4,
  IPV6,
  PROTOCOL_DESTINATION_OPTIONS,
  PROTOCOL_FRAGMENT,
  PROTOCOL_HOPOPTS,
  PROTOCOL_ROUTING,
} from '../../wire/packet.ts';

/** As many as `wire/decode.ts` steps over, so that both find the same protocol. */
const MAX_EXTENSION_HEADERS = 8;

/** One outer header; reused. */
export class OuterHeader extends IpAddresses {
  /** Of the payload, behind extension headers; of a fragment, what its fragment header says. */
  protocol = 0;
  trafficClass = 0;
  /** 1 if this is a fragment. */
  isFragment = 0;
  /** 1 if there is an IPv6 routing header. */
  isRouted = 0;
  /** Where the payload begins, and its bytes. */
  payloadOffset = 0;
  payloadLength = 0;

  /**
   * Reads the IP header at `offset` (a multiple of 4). Returns false if there is none, or if it contradicts
   * itself or the bytes available.
   *
   * @param isWhole true for packets that the kernel or the device layer has merged: their length is what is
   *   there, whatever the header says
   */
  parse(memory: FrameMemory, offset: number, availableBytes: number, isWhole: boolean): boolean {
    if (availableBytes < IPV4_HEADER_BYTES) return false;
    const version = memory.bytes[offset] >>> 4;
    if (version === IPV4) return this.parseIpv4(memory.bytes, offset, availableBytes, isWhole);
    if (version === IPV6) return this.parseIpv6(memory.bytes, offset, availableBytes, isWhole);
    return false;
  }

  private parseIpv4(bytes: Uint8Array, offset: number, availableBytes: number, isWhole: boolean): boolean {
    const headerBytes = ipv4HeaderBytes(bytes, offset);
    const length = isWhole ? availableBytes : ipv4TotalLength(bytes, offset);
    if (headerBytes < IPV4_HEADER_BYTES || headerBytes > length || length > availableBytes) return false;
    if (!verifyIpv4Checksum(bytes, offset)) return false;
    this.readIpv4Addresses(bytes, offset);
    this.protocol = bytes[offset + IPV4_PROTOCOL];
    this.trafficClass = bytes[offset + 1];
    this.isRouted = 0;
    const flags = ipv4Flags(bytes, offset);
    this.isFragment = (flags & (IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET_MASK)) !== 0 ? 1 : 0;
    this.payloadOffset = (offset + headerBytes) | 0;
    this.payloadLength = (length - headerBytes) | 0;
    return true;
  }

  private parseIpv6(bytes: Uint8Array, offset: number, availableBytes: number, isWhole: boolean): boolean {
    const room = (availableBytes - IPV6_HEADER_BYTES) | 0;
    const length = isWhole ? room : ipv6PayloadLength(bytes, offset);
    if (room < 0 || length > room) return false;
    this.readIpv6Addresses(bytes, offset);
    this.trafficClass = ipv6TrafficClass(bytes, offset);
    this.isFragment = 0;
    this.isRouted = 0;
    let at = (offset + IPV6_HEADER_BYTES) | 0;
    const end = (at + length) | 0;
    let protocol = bytes[offset + IPV6_NEXT_HEADER];
    for (let count = 0; count < MAX_EXTENSION_HEADERS; count++) {
      if (protocol === PROTOCOL_FRAGMENT) {
        if (at + IPV6_FRAGMENT_HEADER_BYTES > end) return false;
        protocol = bytes[at];
        // An atomic fragment (RFC 6946) is a whole packet.
        this.isFragment = (readUint16(bytes, at + IPV6_FRAGMENT_OFFSET) & 0xfff9) !== 0 ? 1 : 0;
        at = (at + IPV6_FRAGMENT_HEADER_BYTES) | 0;
        if (this.isFragment !== 0) break;
      } else if (isExtension(protocol)) {
        if (at + 8 > end) return false;
        if (protocol === PROTOCOL_ROUTING) this.isRouted = 1;
        const next = bytes[at];
        at = (at + ipv6ExtensionBytes(bytes, at)) | 0;
        protocol = next;
        if (at > end) return false;
      } else {
        break;
      }
    }
    this.protocol = protocol;
    this.payloadOffset = at;
    this.payloadLength = (end - at) | 0;
    return true;
  }
}

function isExtension(protocol: number): boolean {
  return (
    protocol === PROTOCOL_HOPOPTS ||
    protocol === PROTOCOL_DESTINATION_OPTIONS ||
    protocol === PROTOCOL_ROUTING
  );
}
