/**
 * The reset that refuses a TCP segment, as the addressed host would send it if nobody listened (RFC 9293,
 * 3.10.7.1), and the choice between a reset and an ICMP error.
 *
 * ```
 *  segment without ACK   ->  SEQ 0,        ACK SEG.SEQ + SEG.LEN,  RST ACK
 *  segment with ACK      ->  SEQ SEG.ACK,  no ACK,                 RST
 *  segment with RST      ->  nothing
 * ```
 *
 * Neighbours: `icmp-errors.ts`, `own-packet.ts`, `own-errors.ts`.
 */
import { fillTransportChecksum } from '../wire/checksum.ts';
import { FRAME_PREFIX_BYTES, VIRTIO_NET_HEADER_BYTES } from '../wire/frame.ts';
import {
  ICMP_NONE,
  ICMP_QUERY,
  type PacketView,
  PROTOCOL_TCP,
  TCP_ACK,
  TCP_FIN,
  TCP_RST,
  TCP_SYN,
} from '../wire/packet.ts';
import { TCP_HEADER_BYTES, writeTcpHeader } from '../wire/tcp.ts';
import type { Scratch } from './link/scratch.ts';
import { describeTcpAnswer, ipHeaderBytes, writeOwnHeader } from './own-packet.ts';
import { MAX_PORTS } from './port-table.ts';
import { TokenBuckets } from './rate-limit.ts';

/** Answers of {@link rejectKind}: nothing may be said. */
export const REJECT_SILENTLY = 0;
/** By a TCP reset. */
export const REJECT_BY_RESET = 1;
/** By an ICMP error, "administratively prohibited". */
export const REJECT_BY_ICMP = 2;

const RATE_PER_SECOND = 1000;
const BURST = 200;

/** How the sender of a refused packet is told. */
export function rejectKind(view: PacketView): number {
  if (view.protocol === PROTOCOL_TCP) {
    return (view.tcpFlags & TCP_RST) !== 0 ? REJECT_SILENTLY : REJECT_BY_RESET;
  }
  return view.icmpKind === ICMP_NONE || view.icmpKind === ICMP_QUERY ? REJECT_BY_ICMP : REJECT_SILENTLY;
}

export class TcpResets {
  private readonly scratch: Scratch;
  private readonly buckets = new TokenBuckets(MAX_PORTS, RATE_PER_SECOND, BURST);

  /** Builds resets in `scratch`. */
  constructor(scratch: Scratch) {
    this.scratch = scratch;
  }

  /**
   * Builds the reset that answers `offending`, a whole TCP segment that came in by `port` and has not been changed
   * since: from its destination to its source. Fills `reply` with its view. Returns false, and builds nothing, for
   * anything else, for a reset, when the port has had its share, or without scratch memory.
   */
  build(offending: PacketView, reply: PacketView, port: number, nowMs: number): boolean {
    if (offending.protocol !== PROTOCOL_TCP || offending.fragment !== 0) return false;
    const flags = offending.tcpFlags;
    if ((flags & TCP_RST) !== 0) return false;
    if (!this.buckets.take(port, nowMs)) return false;
    const frame = this.scratch.allocate(FRAME_PREFIX_BYTES + ipHeaderBytes(offending) + TCP_HEADER_BYTES);
    if (frame < 0) return false;
    reply.bytes.fill(0, frame, frame + VIRTIO_NET_HEADER_BYTES);
    describeTcpAnswer(reply, offending, frame + FRAME_PREFIX_BYTES, TCP_HEADER_BYTES);
    if ((flags & TCP_ACK) !== 0) {
      reply.tcpFlags = TCP_RST;
      reply.sequence = offending.acknowledgment;
    } else {
      const segmentLength =
        offending.payloadLength + ((flags & TCP_SYN) !== 0 ? 1 : 0) + ((flags & TCP_FIN) !== 0 ? 1 : 0);
      reply.tcpFlags = TCP_RST | TCP_ACK;
      reply.acknowledgment = (offending.sequence + segmentLength) | 0;
    }
    writeOwnHeader(reply);
    writeTcpHeader(
      reply.bytes,
      reply.l4Offset,
      reply.sourcePort,
      reply.destinationPort,
      reply.sequence,
      reply.acknowledgment,
      reply.tcpFlags,
      0,
      TCP_HEADER_BYTES,
    );
    fillTransportChecksum(reply);
    return true;
  }
}
