/**
 * Test packets of the gateway's own: ICMP echo through one tunnel, and the proof by which tunnel the reply came.
 *
 * ```
 *  request  tunnel's own address -> target     type 8 / 128
 *           identifier (of this process) | sequence (of this probe) | 16 bytes nobody can guess
 *  reply    target -> tunnel's own address     by whatever port it comes: that is what is reported
 * ```
 *
 * The bytes keep a site from answering for another's tunnel with a reply that it was never asked for. A probe knows
 * nothing of flows, and needs none: its reply is recognised before flows are looked for, and only while probes wait.
 * (RFC 792; RFC 4443, 4.)
 *
 * Neighbours: `pipeline.ts` shows what comes in, before anything else is done with it; the data plane sends and passes on
 * what came back.
 */
import { DROP } from '../plugin/drop-reasons.ts';
import type { Address } from '../wire/address.ts';
import { readUint16, readWord, writeWord } from '../wire/byte-order.ts';
import { fillTransportChecksum, verifyTransportChecksum } from '../wire/checksum.ts';
import { FRAME_PREFIX_BYTES, VIRTIO_NET_HEADER_BYTES } from '../wire/frame.ts';
import {
  ICMP_ECHO_REPLY,
  ICMP_ECHO_REQUEST,
  ICMP_HEADER_BYTES,
  ICMP_IDENTIFIER,
  writeIcmpHeader,
} from '../wire/icmp.ts';
import { ICMPV6_ECHO_REPLY, ICMPV6_ECHO_REQUEST } from '../wire/icmpv6.ts';
import { IPV4_HEADER_BYTES } from '../wire/ipv4.ts';
import { IPV6_HEADER_BYTES } from '../wire/ipv6.ts';
import { ICMP_QUERY, IPV4, PacketView, PROTOCOL_ICMP, PROTOCOL_ICMPV6 } from '../wire/packet.ts';
import type { LinkLayer } from './link/link-layer.ts';
import type { Scratch } from './link/scratch.ts';
import { clearOwnPacket, writeOwnHeader } from './own-packet.ts';
import { isAddress, type PortTable } from './port-table.ts';

/** Probes that may wait at a time; a power of two. Of two in one place the later takes it over. */
const MAX_WAITING = 1024;
/** A reply that takes longer is none. */
export const PROBE_TIMEOUT_MS = 10_000;
const COOKIE_WORDS = 4;
const TTL = 64;

/** {@link TunnelProbes.send}: the tunnel has no address of the target's family. */
export const PROBE_NO_SOURCE = -1;

/** A reply has come: `id` as given to `send`, `port` by which it came. */
export type ProbeAnswered = (id: number, port: number) => void;

export class TunnelProbes {
  /** Probes that wait for their reply. */
  waiting = 0;
  private readonly link: LinkLayer;
  private readonly scratch: Scratch;
  private readonly random: () => number;
  private readonly request: PacketView;
  private readonly identifier: number;
  private nextSequence = 0;
  /** Ids of waiting probes, 0 for none; by the low bits of the sequence, like everything below. */
  private readonly ids = new Float64Array(MAX_WAITING);
  private readonly sequences = new Int32Array(MAX_WAITING);
  private readonly sentMs = new Int32Array(MAX_WAITING);
  private readonly cookies = new Int32Array(MAX_WAITING * COOKIE_WORDS);
  private readonly sources: (Address | undefined)[] = [];
  private readonly targets: (Address | undefined)[] = [];
  private onAnswer: ProbeAnswered = () => {};

  constructor(view: PacketView, link: LinkLayer, scratch: Scratch, random: () => number) {
    this.link = link;
    this.scratch = scratch;
    this.random = random;
    this.request = new PacketView(view.memory, true);
    this.identifier = random() & 0xffff;
  }

  setOnAnswer(onAnswer: ProbeAnswered): void {
    this.onAnswer = onAnswer;
  }

  /**
   * Sends one probe by `port`. Returns 0, {@link PROBE_NO_SOURCE}, or a drop reason. `id`: above 0, the caller's.
   */
  send(id: number, port: number, target: Address, ports: PortTable, nowMs: number): number {
    const source = ports.addressesOf(port).find(({ family }) => family === target.family);
    if (source === undefined) return PROBE_NO_SOURCE;
    if (ports.wordOf[port] === 0) return DROP.port_down;
    const sequence = this.nextSequence;
    const slot = sequence & (MAX_WAITING - 1);
    for (let i = 0; i < COOKIE_WORDS; i++) this.cookies[slot * COOKIE_WORDS + i] = this.random();
    if (!this.build(source, target, sequence)) return DROP.memory_full;
    const reason = this.link.send(port, this.request, nowMs);
    if (reason !== 0) return reason;
    this.nextSequence = (sequence + 1) & 0xffff;
    if (this.ids[slot] === 0) this.waiting++;
    this.ids[slot] = id;
    this.sequences[slot] = sequence;
    this.sentMs[slot] = nowMs;
    this.sources[slot] = source;
    this.targets[slot] = target;
    return 0;
  }

  /** Whether the packet is the reply to a waiting probe; it is reported then, and goes nowhere else. */
  take(view: PacketView, port: number): boolean {
    if (view.icmpKind !== ICMP_QUERY || view.fragment !== 0) return false;
    if (view.icmpType !== (view.family === IPV4 ? ICMP_ECHO_REPLY : ICMPV6_ECHO_REPLY)) return false;
    if (view.destinationPort !== this.identifier) return false;
    const bytes = view.bytes;
    const sequence = readUint16(bytes, view.l4Offset + ICMP_IDENTIFIER + 2);
    const slot = sequence & (MAX_WAITING - 1);
    if (this.ids[slot] === 0 || this.sequences[slot] !== sequence) return false;
    const cookie = view.l4Offset + ICMP_HEADER_BYTES;
    if (view.offset + view.length < cookie + COOKIE_WORDS * 4) return false;
    for (let i = 0; i < COOKIE_WORDS; i++) {
      if (readWord(bytes, cookie + i * 4) !== this.cookies[slot * COOKIE_WORDS + i]) return false;
    }
    const { family, src0, src1, src2, src3, dst0, dst1, dst2, dst3 } = view;
    if (!isAddress(this.targets[slot]!, family, src0, src1, src2, src3)) return false;
    if (!isAddress(this.sources[slot]!, family, dst0, dst1, dst2, dst3)) return false;
    if (!verifyTransportChecksum(view)) return false;
    const id = this.ids[slot];
    this.forget(slot);
    this.onAnswer(id, port);
    return true;
  }

  /** Forgets probes that nobody will answer any more. */
  sweep(nowMs: number): void {
    for (let slot = 0; slot < MAX_WAITING; slot++) {
      if (this.ids[slot] !== 0 && ((nowMs - this.sentMs[slot]) | 0) > PROBE_TIMEOUT_MS) this.forget(slot);
    }
  }

  private forget(slot: number): void {
    this.ids[slot] = 0;
    this.sources[slot] = undefined;
    this.targets[slot] = undefined;
    this.waiting--;
  }

  private build(source: Address, target: Address, sequence: number): boolean {
    const ipv4 = target.family === IPV4;
    const headerBytes = ipv4 ? IPV4_HEADER_BYTES : IPV6_HEADER_BYTES;
    const length = headerBytes + ICMP_HEADER_BYTES + COOKIE_WORDS * 4;
    const frame = this.scratch.allocate(FRAME_PREFIX_BYTES + length);
    if (frame < 0) return false;
    const own = this.request;
    const bytes = own.bytes;
    const offset = frame + FRAME_PREFIX_BYTES;
    const l4Offset = offset + headerBytes;
    bytes.fill(0, frame, frame + VIRTIO_NET_HEADER_BYTES);
    own.family = target.family;
    own.protocol = ipv4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6;
    own.ttl = TTL;
    own.trafficClass = 0;
    [own.src0, own.src1, own.src2, own.src3] = source.words as unknown as [number, number, number, number];
    [own.dst0, own.dst1, own.dst2, own.dst3] = target.words as unknown as [number, number, number, number];
    clearOwnPacket(own, offset, length, l4Offset);
    own.icmpKind = ICMP_QUERY;
    own.icmpType = ipv4 ? ICMP_ECHO_REQUEST : ICMPV6_ECHO_REQUEST;
    own.payloadOffset = l4Offset + ICMP_HEADER_BYTES;
    own.payloadLength = COOKIE_WORDS * 4;
    writeIcmpHeader(bytes, l4Offset, own.icmpType, 0, (this.identifier << 16) | sequence);
    const slot = sequence & (MAX_WAITING - 1);
    for (let i = 0; i < COOKIE_WORDS; i++) {
      writeWord(bytes, own.payloadOffset + i * 4, this.cookies[slot * COOKIE_WORDS + i]);
    }
    writeOwnHeader(own);
    fillTransportChecksum(own);
    return true;
  }
}
