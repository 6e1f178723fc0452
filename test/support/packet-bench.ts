/**
 * Packet memory for tests: a place for one received packet, decoded as the pipeline does, scratch memory behind
 * it, and a pool for whoever needs one.
 */
import assert from 'node:assert/strict';
import { Scratch } from '../../src/pipeline/link/scratch.ts';
import { decode } from '../../src/wire/decode.ts';
import { FRAME_PREFIX_BYTES, FrameMemory } from '../../src/wire/frame.ts';
import { PacketView } from '../../src/wire/packet.ts';

const PACKET_AREA_BYTES = 80 * 1024;

export class PacketBench {
  readonly memory: FrameMemory;
  readonly scratch: Scratch;
  readonly view: PacketView;
  /** For packets that are built. */
  readonly reply: PacketView;
  readonly poolOffset: number;

  constructor(scratchBytes = 256 * 1024, poolBytes = 0) {
    this.poolOffset = PACKET_AREA_BYTES + scratchBytes;
    this.memory = new FrameMemory(new ArrayBuffer(this.poolOffset + poolBytes));
    this.scratch = new Scratch(this.memory, PACKET_AREA_BYTES, scratchBytes);
    this.view = new PacketView(this.memory);
    this.reply = new PacketView(this.memory, true);
  }

  /** Puts a packet in and decodes it, whatever that says. Returns decode's answer. */
  offer(packet: Uint8Array): number {
    const offset = 8 + FRAME_PREFIX_BYTES;
    this.memory.bytes.set(packet, offset);
    return decode(this.view, offset, packet.length);
  }

  /** Puts a packet in that decodes. */
  put(packet: Uint8Array): PacketView {
    assert.equal(this.offer(packet), 0, 'the test packet decodes');
    return this.view;
  }

  /** A copy of the packet that a view shows. */
  bytesOf(view: PacketView): Uint8Array {
    return this.memory.bytes.slice(view.offset, view.offset + view.length);
  }
}

/** Every field of a view that is a number, for comparing what was filled in by hand with what decode says. */
export function fieldsOf(view: PacketView): Record<string, number> {
  const fields: Record<string, number> = {};
  for (const [name, value] of Object.entries(view)) if (typeof value === 'number') fields[name] = value;
  return fields;
}
