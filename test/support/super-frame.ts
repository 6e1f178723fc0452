/** Frames of large packets, as a TUN device gives them: one packet, its checksum partial. */
import assert from 'node:assert/strict';
import { buildPacket, type PacketSpec } from '../../src/wire/build.ts';
import { pseudoHeaderSum } from '../../src/wire/checksum.ts';
import { decode } from '../../src/wire/decode.ts';
import { FRAME_PREFIX_BYTES, FrameMemory } from '../../src/wire/frame.ts';
import { GSO_UDP_L4, PacketView } from '../../src/wire/packet.ts';
import { writeVirtioNetHeader } from '../../src/wire/virtio-net.ts';

export function superFrame(spec: PacketSpec, gsoType: number, gsoSize: number): Uint8Array {
  return superFrameOf(buildPacket(spec), gsoType, gsoSize);
}

/** The same of a packet's bytes. */
export function superFrameOf(packet: Uint8Array, gsoType: number, gsoSize: number): Uint8Array {
  const memory = new FrameMemory(new ArrayBuffer((FRAME_PREFIX_BYTES + packet.length + 3) & ~3));
  memory.bytes.set(packet, FRAME_PREFIX_BYTES);
  const view = new PacketView(memory);
  assert.equal(decode(view, FRAME_PREFIX_BYTES, packet.length), 0);
  view.gsoType = gsoType;
  view.gsoSize = gsoSize;
  view.checksumStart = view.l4Offset;
  view.checksumOffset = gsoType === GSO_UDP_L4 ? 6 : 16;
  const sum = pseudoHeaderSum(view, view.offset + view.length - view.l4Offset);
  memory.bytes[view.checksumStart + view.checksumOffset] = sum & 0xff;
  memory.bytes[view.checksumStart + view.checksumOffset + 1] = sum >>> 8;
  writeVirtioNetHeader(memory, 0, view, FRAME_PREFIX_BYTES);
  return memory.bytes.slice(0, FRAME_PREFIX_BYTES + packet.length);
}
