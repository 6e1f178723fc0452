/** TCP segments for tests: fills a packet view as `wire/decode.ts` would, options included. */
import { FrameMemory } from '../../src/wire/frame.ts';
import {
  IPV4,
  PacketView,
  PROTOCOL_TCP,
  TCP_ACK,
  TCP_FIN,
  TCP_PSH,
  TCP_RST,
  TCP_SYN,
} from '../../src/wire/packet.ts';

const FLAG_LETTERS: Readonly<Record<string, number>> = {
  S: TCP_SYN,
  A: TCP_ACK,
  F: TCP_FIN,
  R: TCP_RST,
  P: TCP_PSH,
};

const L4_OFFSET = 64;

/** What a segment says; what is left out is 0, the window 65535. */
export interface Segment {
  /** Letters of `SAFRP`. */
  readonly flags: string;
  readonly sequence?: number;
  readonly acknowledgment?: number;
  readonly lengthBytes?: number;
  readonly window?: number;
  /** Offered window scale. */
  readonly scale?: number;
  /** Option bytes instead. */
  readonly options?: readonly number[];
}

/** A view to be filled by {@link fillSegment}. */
export function segmentView(): PacketView {
  const view = new PacketView(new FrameMemory(new ArrayBuffer(256)));
  view.family = IPV4;
  view.protocol = PROTOCOL_TCP;
  view.l4Offset = L4_OFFSET;
  return view;
}

/** Makes the view show a segment. */
export function fillSegment(view: PacketView, segment: Segment): PacketView {
  let flags = 0;
  for (const letter of segment.flags) flags |= FLAG_LETTERS[letter]!;
  // MSS in front and padding behind, as senders do.
  const scaled = segment.scale === undefined ? [] : [2, 4, 5, 0xb4, 1, 3, 3, segment.scale];
  const options = segment.options ?? scaled;
  view.bytes.set(options, L4_OFFSET + 20);
  view.tcpFlags = flags;
  view.sequence = (segment.sequence ?? 0) | 0;
  view.acknowledgment = (segment.acknowledgment ?? 0) | 0;
  view.window = segment.window ?? 65535;
  view.payloadOffset = L4_OFFSET + 20 + options.length;
  view.payloadLength = segment.lengthBytes ?? 0;
  return view;
}
