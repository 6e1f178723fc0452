import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FrameList } from '../wire/frame.ts';
import { burstIoContract, copyReceived, numberedPacket } from './io.contract.ts';
import { memoryFixture } from './memory-io.contract.ts';
import { MemoryIo } from './memory-io.ts';

burstIoContract('MemoryIo', memoryFixture);

describe('MemoryIo', () => {
  it('puts Ethernet frames and IP packets at their places', () => {
    const io = new MemoryIo();
    const packet = numberedPacket(1, 60);
    const ethernet = new Uint8Array(14 + packet.length).fill(2, 0, 14);
    ethernet.set(packet, 14);
    io.inject(3, ethernet, 'ethernet');
    io.inject(4, packet);
    io.burst(0);
    const [first, second] = copyReceived(io);
    assert.deepEqual(first!.packet, packet);
    assert.deepEqual(second!.packet, packet);
    assert.deepEqual(
      io.memory.bytes.slice(first!.offset + 10, first!.offset + 24),
      new Uint8Array(14).fill(2),
    );
    assert.deepEqual([first!.device, second!.device], [3, 4]);
  });

  it('delivers preloaded frames with every burst, headers restored, from one place', () => {
    const io = new MemoryIo();
    const packet = numberedPacket(1, 100);
    io.preload(
      [
        { device: 0, bytes: packet },
        { device: 1, bytes: packet },
      ],
      64,
    );
    assert.equal(io.burst(-1), 2);
    const places = [io.rx.offset(0), io.rx.offset(1)];
    io.memory.bytes.fill(0xee, places[0]!, places[0]! + 124);
    assert.equal(io.burst(-1), 2);
    assert.deepEqual([io.rx.offset(0), io.rx.offset(1)], places);
    const [first, second] = copyReceived(io);
    assert.deepEqual(first!.packet.slice(0, 40), packet.slice(0, 40));
    assert.equal(first!.packet[41], 0xee);
    assert.deepEqual(second!.packet, packet);
    io.preload([]);
    assert.equal(io.burst(-1), 0);
  });

  it('counts without keeping when told to', () => {
    const io = new MemoryIo();
    io.recordSent = false;
    io.inject(0, numberedPacket(1, 100));
    io.burst(0);
    io.tx.push(io.rx.offset(0), io.rx.lengthBytes(0), 0, 0);
    io.burst(0);
    assert.equal(io.sentFrames, 1);
    assert.equal(io.sent.length, 0);
  });

  it('refuses what is no frame', () => {
    const io = new MemoryIo();
    assert.throws(() => io.inject(0, new Uint8Array(0)), RangeError);
    assert.throws(() => io.inject(0, new Uint8Array(65537)), RangeError);
    assert.throws(
      () => io.preload(new Array(io.rx.capacity + 1).fill({ device: 0, bytes: numberedPacket(1, 60) })),
      RangeError,
    );
    assert.ok(io.rx instanceof FrameList);
  });
});
