import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FaultInjector, type FaultRates } from './fault-injector.ts';
import { burstIoContract, copyReceived, numberedPacket, writeFrame } from './io.contract.ts';
import { memoryFixture } from './memory-io.contract.ts';
import { MemoryIo } from './memory-io.ts';

burstIoContract('FaultInjector without faults', () => {
  const memory = memoryFixture();
  return { ...memory, io: new FaultInjector(memory.io, { seed: 1 }) };
});

const FRAMES = 200;

/** The numbers (IPv4 identifications) of what comes through of `FRAMES` frames, and the packets. */
function receiveThrough(receive: FaultRates, seed: number) {
  const memory = new MemoryIo();
  const io = new FaultInjector(memory, { seed, receive });
  const numbers: number[] = [];
  const packets: Uint8Array[] = [];
  for (let number = 0; number < FRAMES; number++) memory.inject(0, numberedPacket(number, 100));
  while (memory.waiting > 0) {
    io.burst(0);
    for (const { packet } of copyReceived(io)) {
      numbers.push((packet[4]! << 8) | packet[5]!);
      packets.push(packet);
    }
  }
  return { io, numbers, packets };
}

const ALL = Array.from({ length: FRAMES }, (_, number) => number);

describe('FaultInjector', () => {
  it('loses frames, and counts them', () => {
    const { io, numbers } = receiveThrough({ loss: 0.2 }, 42);
    assert.equal(numbers.length, FRAMES - io.received.lost);
    assert.ok(io.received.lost > 20 && io.received.lost < 60, `${io.received.lost} lost`);
    assert.deepEqual(
      numbers,
      ALL.filter((number) => numbers.includes(number)),
    );
  });

  it('does the same again with the same seed, and something else with another', () => {
    const rates = { loss: 0.1, duplication: 0.1, reordering: 0.1, bitFlips: 0.1 };
    const first = receiveThrough(rates, 7);
    const second = receiveThrough(rates, 7);
    assert.deepEqual(first.packets, second.packets);
    assert.deepEqual(first.io.received, second.io.received);
    assert.notDeepEqual(receiveThrough(rates, 8).packets, first.packets);
  });

  it('doubles frames into memory of their own', () => {
    const { io, numbers } = receiveThrough({ duplication: 0.2 }, 42);
    assert.ok(io.received.duplicated > 0);
    assert.equal(numbers.length, FRAMES + io.received.duplicated);
    assert.deepEqual([...new Set(numbers)], ALL);

    const memory = new MemoryIo();
    const twice = new FaultInjector(memory, { seed: 1, receive: { duplication: 1 } });
    memory.inject(0, numberedPacket(1, 100));
    assert.equal(twice.burst(0), 2);
    const [first, second] = copyReceived(twice);
    assert.deepEqual(first!.packet, second!.packet);
    assert.equal(second!.offset % 16, 8);
    assert.ok(second!.offset >= twice.scratchOffset + twice.scratchBytes + 104);
  });

  it('sends a doubled frame unharmed while it doubles others', () => {
    const memory = new MemoryIo();
    const io = new FaultInjector(memory, { seed: 1, receive: { duplication: 1 }, send: { duplication: 1 } });
    memory.addDevice(0);
    memory.inject(0, numberedPacket(1, 100));
    io.burst(0);
    const length = writeFrame(io.memory, io.scratchOffset, numberedPacket(2, 100));
    io.tx.push(io.scratchOffset, length, 0, 0);
    io.tx.push(io.rx.offset(1), io.rx.lengthBytes(1), 0, 0);
    io.burst(0);
    assert.deepEqual(
      memory.takeSent().map(({ frame }) => frame[24 + 5]),
      [2, 2, 1, 1],
    );
  });

  it('moves frames by one place', () => {
    const { io, numbers } = receiveThrough({ reordering: 0.2 }, 42);
    assert.ok(io.received.reordered > 0);
    assert.deepEqual(
      [...numbers].sort((a, b) => a - b),
      ALL,
    );
    assert.equal(numbers.filter((number, index) => number !== index).length, 2 * io.received.reordered);
    numbers.forEach((number, index) => {
      assert.ok(Math.abs(number - index) <= 1);
    });
  });

  it('flips one bit of the packet and nothing else', () => {
    const { io, packets } = receiveThrough({ bitFlips: 0.3 }, 42);
    let damaged = 0;
    packets.forEach((packet, number) => {
      const expected = numberedPacket(number, 100);
      let bits = 0;
      packet.forEach((byte, at) => {
        for (let difference = byte ^ expected[at]!; difference !== 0; difference &= difference - 1) bits++;
      });
      assert.ok(bits <= 1);
      damaged += bits;
    });
    assert.ok(damaged > 0);
    assert.equal(damaged, io.received.flipped);
  });

  it('leaves what is sent alone when only received frames are disturbed, and the other way', () => {
    const memory = new MemoryIo();
    memory.addDevice(0);
    const io = new FaultInjector(memory, { seed: 1, send: { loss: 1 } });
    memory.inject(0, numberedPacket(1, 100));
    assert.equal(io.burst(0), 1);
    io.tx.push(io.rx.offset(0), io.rx.lengthBytes(0), 0, 0);
    io.burst(0);
    assert.equal(memory.sentFrames, 0);
    assert.equal(io.sent.lost, 1);
    assert.equal(io.received.lost, 0);
  });

  it('refuses an I/O with too little scratch memory', () => {
    assert.throws(() => new FaultInjector(new MemoryIo({ scratchBytes: 1024 }), { seed: 1 }), RangeError);
  });
});
