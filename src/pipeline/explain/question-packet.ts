/** The packet that a question is about: one that begins something, as its protocol does. */
import { buildPacket, type PacketSpec, placePacket, type TransportSpec } from '../../wire/build.ts';
import { FrameMemory } from '../../wire/frame.ts';
import { ICMP_ECHO_REQUEST } from '../../wire/icmp.ts';
import { ICMPV6_ECHO_REQUEST } from '../../wire/icmpv6.ts';
import {
  IPV4,
  PacketView,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  TCP_SYN,
} from '../../wire/packet.ts';
import { planAddress } from '../plan-address.ts';
import type { PacketQuestion } from './explanation.ts';

/** A packet in memory of its own, to be decoded into its view. */
export interface QuestionPacket {
  readonly view: PacketView;
  /** Of the IP header, bytes. */
  readonly offset: number;
  readonly lengthBytes: number;
}

/** Builds it. Throws an Error for addresses that are none, or of two families. */
export function questionPacket(question: PacketQuestion): QuestionPacket {
  const shortest = buildPacket(specOf(question, 0));
  const payloadBytes = Math.min(65_535, question.bytes ?? 0) - shortest.length;
  const packet = payloadBytes > 0 ? buildPacket(specOf(question, payloadBytes)) : shortest;
  const memory = new FrameMemory(new ArrayBuffer((packet.length + 64 + 3) & ~3));
  return { view: new PacketView(memory), offset: placePacket(memory, 0, packet), lengthBytes: packet.length };
}

function specOf(question: PacketQuestion, payloadBytes: number): PacketSpec {
  const { source, destination } = question;
  return {
    source,
    destination,
    dontFragment: true,
    transport: transportOf(question, new Uint8Array(payloadBytes)),
  };
}

function transportOf(question: PacketQuestion, payload: Uint8Array): TransportSpec {
  const { protocol, sourcePort, destinationPort } = question;
  const isIpv4 = planAddress(question.source).family === IPV4;
  switch (protocol) {
    case PROTOCOL_TCP:
      return { kind: 'tcp', sourcePort, destinationPort, flags: TCP_SYN, payload };
    case PROTOCOL_UDP:
      return { kind: 'udp', sourcePort, destinationPort, payload };
    case PROTOCOL_ICMP:
    case PROTOCOL_ICMPV6:
      // That of the other family has no meaning: it goes as any protocol does.
      if (isIpv4 !== (protocol === PROTOCOL_ICMP)) break;
      return {
        kind: 'icmp',
        type: isIpv4 ? ICMP_ECHO_REQUEST : ICMPV6_ECHO_REQUEST,
        rest: (sourcePort << 16) | 1,
        payload,
      };
    default:
      break;
  }
  // Enough for any header that a known protocol begins with.
  return { kind: 'raw', protocol, payload: payload.length > 0 ? payload : new Uint8Array(8) };
}
