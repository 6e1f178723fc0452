import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type CapturedPacket, LINKTYPE_ETHERNET, LINKTYPE_RAW } from './capture.ts';
import { readCapture } from './capture-file.ts';
import { burstIoContract, copyReceived, numberedPacket, writeFrame } from './io.contract.ts';
import { PcapIo } from './pcap-io.ts';
import { PcapngWriter } from './pcapng-writer.ts';

const TIME_NS = 1_749_600_000_123_456_789n;

/** Collects what a writer writes. */
function collector(): { sink: (bytes: Uint8Array) => void; bytes: () => Uint8Array } {
  const chunks: Uint8Array[] = [];
  return { sink: (bytes) => chunks.push(bytes), bytes: () => new Uint8Array(Buffer.concat(chunks)) };
}

function captured(data: Uint8Array, linkType: number, ms = 0, originalLength = data.length): CapturedPacket {
  return {
    interfaceIndex: 0,
    linkType,
    timestampNs: TIME_NS + BigInt(ms) * 1_000_000n,
    originalLength,
    data,
  };
}

burstIoContract('PcapIo', () => {
  const waiting: CapturedPacket[] = [];
  const out = collector();
  const writer = new PcapngWriter(out.sink);
  const io = new PcapIo({
    devices: [{ index: 0, layout: 'ip', interfaceIndex: 0 }],
    packets: waiting,
    writer,
    scratchBytes: 1 << 20,
  });
  let seen = 0;
  return {
    io,
    device: 0,
    carriesOffloads: false,
    sendFromFar(list) {
      for (const packet of list) waiting.push(captured(packet, LINKTYPE_RAW));
    },
    receiveAtFar() {
      const { packets: read } = readCapture(out.bytes());
      const fresh = read.slice(seen);
      seen = read.length;
      return fresh.map(({ data }) => ({ packet: new Uint8Array(data), virtio: new Uint8Array(10) }));
    },
    close: () => io.close(),
  };
});

describe('PcapIo', () => {
  it('goes with the time of the capture, a millisecond a burst', () => {
    const times = [0, 0, 1, 5000, 5000, 5000];
    const io = new PcapIo({
      devices: [{ index: 4, layout: 'ip', interfaceIndex: 0 }],
      packets: times.map((ms, number) => captured(numberedPacket(number, 60), LINKTYPE_RAW, ms)),
      startMs: 0x7fffffff,
    });
    const bursts: [number, number][] = [];
    while (!io.finished) bursts.push([io.burst(-1), (io.nowMs - 0x7fffffff) | 0]);
    assert.deepEqual(bursts, [
      [2, 0],
      [1, 1],
      [3, 5000],
    ]);
    assert.equal(io.nowMs, io.nowMs | 0);
    assert.equal(io.burst(0), 0);
  });

  it('passes over what it cannot deliver, and counts it', () => {
    const io = new PcapIo({
      devices: [{ index: 0, layout: 'ip', interfaceIndex: 0 }],
      packets: [
        captured(numberedPacket(1, 60), LINKTYPE_RAW, 0, 61),
        captured(numberedPacket(2, 60), LINKTYPE_ETHERNET),
        { ...captured(numberedPacket(3, 60), LINKTYPE_RAW), interfaceIndex: 1 },
        captured(new Uint8Array(70000), LINKTYPE_RAW),
        captured(numberedPacket(5, 60), LINKTYPE_RAW),
      ],
    });
    assert.equal(io.burst(0), 1);
    assert.equal(copyReceived(io)[0]!.packet[5], 5);
    assert.equal(io.skipped, 4);
  });

  it('records Ethernet devices with their headers', () => {
    const out = collector();
    const writer = new PcapngWriter(out.sink);
    const io = new PcapIo({
      devices: [{ index: 2, layout: 'ethernet', name: 'uplink' }],
      writer,
      startMs: 1500,
    });
    const link = Uint8Array.of(2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0);
    io.tx.push(0, writeFrame(io.memory, 0, numberedPacket(1, 60), link), 2, 0);
    io.burst(0);
    const { packets: read, interfaces } = readCapture(out.bytes());
    assert.equal(interfaces[0]!.name, 'uplink');
    assert.deepEqual([...read[0]!.data], [...link, ...numberedPacket(1, 60)]);
    assert.equal(read[0]!.timestampNs, 1_500_000_000n);
  });
});
