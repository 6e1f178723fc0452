import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import {
  type CapturedPacket,
  CaptureError,
  capturedFrame,
  LINKTYPE_ETHERNET,
  LINKTYPE_LINUX_SLL,
  LINKTYPE_RAW,
} from './capture.ts';
import { readCapture } from './capture-file.ts';
import { numberedPacket } from './io.contract.ts';
import { PcapWriter } from './pcap.ts';
import { PcapngWriter } from './pcapng-writer.ts';

const SEED = 20250611;
const folder = mkdtempSync(join(tmpdir(), 'homeward-pcap-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** Collects what a writer writes. */
function collector(): { sink: (bytes: Uint8Array) => void; bytes: () => Uint8Array } {
  const chunks: Uint8Array[] = [];
  return { sink: (bytes) => chunks.push(bytes), bytes: () => new Uint8Array(Buffer.concat(chunks)) };
}

/** 2025-06-11 or so, with a fraction that microseconds cannot hold. */
const TIME_NS = 1_749_600_000_123_456_789n;

function cut(timestampNs: bigint, unitNs: bigint): bigint {
  return (timestampNs / unitNs) * unitNs;
}

const packets = fc.array(
  fc.record({
    data: fc.uint8Array({ minLength: 1, maxLength: 200 }),
    timestampNs: fc.bigInt({ min: 0n, max: 4_000_000_000_999_999_999n }),
    comment: fc.option(fc.string({ unit: 'grapheme', maxLength: 20 }), { nil: undefined }),
  }),
  { maxLength: 10 },
);

describe('pcap', () => {
  it('reads what it writes, in both byte orders and units', () => {
    fc.assert(
      fc.property(packets, fc.boolean(), fc.boolean(), (list, bigEndian, nanoseconds) => {
        const out = collector();
        const writer = new PcapWriter(out.sink, { linkType: LINKTYPE_RAW, bigEndian, nanoseconds });
        for (const packet of list) writer.write(packet);
        const capture = readCapture(out.bytes());
        assert.equal(capture.format, 'pcap');
        assert.equal(capture.error, undefined);
        assert.deepEqual(capture.interfaces, [{ linkType: LINKTYPE_RAW, snapLength: 262144 }]);
        assert.deepEqual(
          capture.packets.map(({ data, timestampNs }) => ({ data: [...data], timestampNs })),
          list.map(({ data, timestampNs }) => ({
            data: [...data],
            timestampNs: nanoseconds ? timestampNs : cut(timestampNs, 1000n),
          })),
        );
      }),
      { seed: SEED },
    );
  });

  it('reads a file built by hand', () => {
    const bytes = Uint8Array.from([
      ...[0xa1, 0xb2, 0xc3, 0xd4, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 96, 0, 0, 0, 113],
      ...[0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0, 3, 0, 0, 0, 9, 1, 2, 3],
    ]);
    const { packets: read, interfaces } = readCapture(bytes);
    assert.deepEqual(interfaces, [{ linkType: LINKTYPE_LINUX_SLL, snapLength: 96 }]);
    assert.equal(read.length, 1);
    assert.equal(read[0]!.timestampNs, 5_000_006_000n);
    assert.equal(read[0]!.originalLength, 9);
    assert.deepEqual([...read[0]!.data], [1, 2, 3]);
  });

  it('cuts at the snap length and keeps the original one', () => {
    const out = collector();
    new PcapWriter(out.sink, { linkType: LINKTYPE_RAW, snapLength: 10 }).write({
      timestampNs: TIME_NS,
      data: new Uint8Array(50),
    });
    const [packet] = readCapture(out.bytes()).packets;
    assert.equal(packet!.data.length, 10);
    assert.equal(packet!.originalLength, 50);
  });
});

describe('pcapng', () => {
  it('reads what it writes: interfaces, times, comments, both byte orders', () => {
    fc.assert(
      fc.property(packets, fc.boolean(), fc.constantFrom(3, 6, 9), (list, bigEndian, timeResolution) => {
        const out = collector();
        const writer = new PcapngWriter(out.sink, { bigEndian, comment: 'all of it' });
        const raw = writer.addInterface({ linkType: LINKTYPE_RAW, timeResolution });
        const ethernet = writer.addInterface({ linkType: LINKTYPE_ETHERNET, name: 'eth0', snapLength: 4096 });
        list.forEach((packet, index) => {
          const comments = packet.comment === undefined ? [] : [packet.comment];
          writer.write(index % 2 === 0 ? raw : ethernet, packet, { comments });
        });
        writer.writeSimple(Uint8Array.of(1, 2, 3));
        const capture = readCapture(out.bytes());
        assert.equal(capture.format, 'pcapng');
        assert.equal(capture.error, undefined);
        assert.deepEqual(capture.interfaces, [
          { linkType: LINKTYPE_RAW, snapLength: 0 },
          { linkType: LINKTYPE_ETHERNET, snapLength: 4096, name: 'eth0' },
        ]);
        const unitNs = 10n ** BigInt(9 - timeResolution);
        const expected = list.map((packet, index) => ({
          interfaceIndex: index % 2,
          linkType: index % 2 === 0 ? LINKTYPE_RAW : LINKTYPE_ETHERNET,
          timestampNs: index % 2 === 0 ? cut(packet.timestampNs, unitNs) : packet.timestampNs,
          originalLength: packet.data.length,
          data: [...packet.data],
          comment: packet.comment,
        }));
        const simple = {
          interfaceIndex: 0,
          linkType: LINKTYPE_RAW,
          timestampNs: 0n,
          originalLength: 3,
          data: [1, 2, 3],
          comment: undefined,
        };
        assert.deepEqual(
          capture.packets.map((packet) => ({
            interfaceIndex: packet.interfaceIndex,
            linkType: packet.linkType,
            timestampNs: packet.timestampNs,
            originalLength: packet.originalLength,
            data: [...packet.data],
            comment: packet.comment,
          })),
          [...expected, simple],
        );
      }),
      { seed: SEED },
    );
  });

  it('reads sections of both byte orders in one file, and passes over blocks it does not know', () => {
    const out = collector();
    for (const bigEndian of [true, false]) {
      const writer = new PcapngWriter(out.sink, { bigEndian });
      writer.addInterface({ linkType: LINKTYPE_RAW, name: bigEndian ? 'big' : 'little' });
      writer.write(0, { timestampNs: TIME_NS, data: Uint8Array.of(bigEndian ? 1 : 2) });
      const block = new DataView(new ArrayBuffer(16));
      block.setUint32(0, 0x0bad, !bigEndian);
      block.setUint32(4, 16, !bigEndian);
      block.setUint32(12, 16, !bigEndian);
      out.sink(new Uint8Array(block.buffer));
    }
    const capture = readCapture(out.bytes());
    assert.equal(capture.error, undefined);
    assert.deepEqual(
      capture.packets.map(({ interfaceIndex, data, timestampNs }) => [interfaceIndex, data[0], timestampNs]),
      [
        [0, 1, TIME_NS],
        [1, 2, TIME_NS],
      ],
    );
    assert.deepEqual(
      capture.interfaces.map(({ name }) => name),
      ['big', 'little'],
    );
  });

  it('reads times in powers of two, and with an offset', () => {
    const bytes = Uint8Array.from([
      ...[10, 13, 13, 10, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0],
      ...[255, 255, 255, 255, 255, 255, 255, 255, 28, 0, 0, 0],
      // Interface: RAW, if_tsresol 2^-10, if_tsoffset 100 s.
      ...[1, 0, 0, 0, 44, 0, 0, 0, 101, 0, 0, 0, 0, 0, 0, 0],
      ...[9, 0, 1, 0, 0x8a, 0, 0, 0, 14, 0, 8, 0, 100, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 44, 0, 0, 0],
      // Packet at tick 512: half a second.
      ...[6, 0, 0, 0, 36, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0],
      ...[0x45, 0, 0, 0, 36, 0, 0, 0],
    ]);
    const capture = readCapture(bytes);
    assert.equal(capture.error, undefined);
    assert.equal(capture.packets[0]!.timestampNs, 100_500_000_000n);
    assert.deepEqual([...capture.packets[0]!.data], [0x45]);
  });
});

describe('captures that are broken', () => {
  const sound = () => {
    const out = collector();
    const writer = new PcapngWriter(out.sink);
    writer.addInterface({ linkType: LINKTYPE_RAW, name: 'x' });
    for (let number = 0; number < 4; number++) {
      writer.write(
        0,
        { timestampNs: TIME_NS, data: numberedPacket(number, 60) },
        { comments: ['a comment'] },
      );
    }
    const pcap = collector();
    const pcapWriter = new PcapWriter(pcap.sink, { linkType: LINKTYPE_RAW });
    for (let number = 0; number < 4; number++) {
      pcapWriter.write({ timestampNs: TIME_NS, data: numberedPacket(number, 60) });
    }
    return [out.bytes(), pcap.bytes()];
  };

  it('end with an error behind the packets that are sound, wherever they are cut', () => {
    for (const bytes of sound()) {
      const whole = readCapture(bytes).packets.length;
      let seen = 0;
      for (let length = 0; length < bytes.length; length++) {
        const capture = readCapture(bytes.subarray(0, length));
        assert.ok(capture.packets.length >= seen && capture.packets.length <= whole);
        seen = capture.packets.length;
        if (capture.error !== undefined) assert.ok(capture.error instanceof CaptureError);
        // A cut between two packets cannot be told from the end.
        else assert.ok(capture.packets.length < whole);
      }
      assert.equal(seen, whole - 1);
    }
  });

  it('are named by what is wrong', () => {
    const [pcapng, pcap] = sound();
    const codeOf = (bytes: Uint8Array) => readCapture(bytes).error?.code;
    assert.equal(codeOf(new Uint8Array(0)), 'not_a_capture');
    assert.equal(codeOf(new TextEncoder().encode('GET / HTTP/1.1')), 'not_a_capture');
    assert.equal(readCapture(new Uint8Array(8)).format, 'unknown');
    assert.equal(codeOf(pcap!.subarray(0, 20)), 'truncated');
    assert.equal(codeOf(pcap!.subarray(0, pcap!.length - 1)), 'truncated');
    const lengths = pcapng!.slice();
    lengths[lengths.length - 4]! ^= 4;
    assert.equal(codeOf(lengths), 'malformed');
  });

  it('never make the reader throw', () => {
    const bases = sound();
    fc.assert(
      fc.property(
        fc.nat(bases.length - 1),
        fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { minLength: 1, maxLength: 8 }),
        (base, edits) => {
          const bytes = bases[base]!.slice();
          for (const [at, value] of edits) bytes[at % bytes.length] = value;
          const capture = readCapture(bytes);
          for (const packet of capture.packets) {
            capturedFrame(packet);
            assert.ok(capture.interfaces[packet.interfaceIndex] !== undefined);
          }
        },
      ),
      { seed: SEED, numRuns: 2000 },
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        readCapture(bytes);
      }),
      { seed: SEED },
    );
  });
});

describe('other tools', () => {
  it('read what is written', (context) => {
    if (spawnSync('tshark', ['--version']).error !== undefined) {
      context.skip('needs tshark');
      return;
    }
    const out = collector();
    const writer = new PcapngWriter(out.sink, { bigEndian: true });
    const index = writer.addInterface({
      linkType: LINKTYPE_RAW,
      name: 'site-a',
      description: 'gre tunnel',
    });
    writer.write(
      index,
      { timestampNs: TIME_NS, data: numberedPacket(77, 60) },
      { comments: ['seen at the gateway', 'twice'], direction: 'outbound' },
    );
    writer.writeStatistics(index, { timestampNs: TIME_NS, received: 12, dropped: 3 });
    const path = join(folder, 'written.pcapng');
    writeFileSync(path, out.bytes());
    const fields = [
      'frame.time_epoch',
      'frame.interface_name',
      'frame.interface_description',
      'frame.packet_flags_direction',
      'frame.comment',
      'ip.id',
      'ip.dst',
    ];
    const run = spawnSync('tshark', ['-r', path, '-T', 'fields', ...fields.flatMap((name) => ['-e', name])], {
      encoding: 'utf8',
    });
    assert.deepEqual(run.stdout.trim().split('\t'), [
      '1749600000.123456789',
      'site-a',
      'gre tunnel',
      '0x00000002',
      'seen at the gateway,twice',
      '0x004d',
      '10.77.0.2',
    ]);
    const { stdout } = spawnSync('capinfos', [path], { encoding: 'utf8' });
    assert.match(stdout, /Number of stat entries = 1/);
  });

  it('write what is read', (context) => {
    if (spawnSync('editcap', ['--version']).error !== undefined) {
      context.skip('needs editcap');
      return;
    }
    const out = collector();
    const writer = new PcapWriter(out.sink, { linkType: LINKTYPE_RAW });
    for (let number = 0; number < 5; number++) {
      writer.write({ timestampNs: TIME_NS + BigInt(number), data: numberedPacket(number, 61) });
    }
    const from = join(folder, 'from.pcap');
    writeFileSync(from, out.bytes());
    const expected = readCapture(out.bytes()).packets.map(({ data }) => [...data]);
    for (const format of ['pcap', 'nsecpcap', 'pcapng']) {
      const to = join(folder, `to.${format}`);
      assert.equal(spawnSync('editcap', ['-F', format, from, to]).status, 0);
      const capture = readCapture(new Uint8Array(readFileSync(to)));
      assert.equal(capture.error, undefined);
      assert.deepEqual(
        capture.packets.map(({ data }) => [...data]),
        expected,
      );
      assert.equal(capture.packets[1]!.timestampNs, cut(TIME_NS + 1n, format === 'pcap' ? 1000n : 1n));
    }
  });
});

function captured(data: Uint8Array, linkType: number, ms = 0, originalLength = data.length): CapturedPacket {
  return {
    interfaceIndex: 0,
    linkType,
    timestampNs: TIME_NS + BigInt(ms) * 1_000_000n,
    originalLength,
    data,
  };
}

describe('capturedFrame', () => {
  it('takes the cooked header off, and nothing that is not IP', () => {
    const cooked = new Uint8Array(16 + 30);
    cooked.set([8, 0], 14);
    cooked.set(numberedPacket(1, 30), 16);
    const frame = capturedFrame(captured(cooked, LINKTYPE_LINUX_SLL));
    assert.equal(frame!.layout, 'ip');
    assert.deepEqual(frame!.bytes, numberedPacket(1, 30));
    cooked.set([8, 6], 14);
    assert.equal(capturedFrame(captured(cooked, LINKTYPE_LINUX_SLL)), undefined);
    assert.equal(capturedFrame(captured(cooked, 105)), undefined);
    assert.equal(capturedFrame(captured(new Uint8Array(14), LINKTYPE_ETHERNET)), undefined);
    assert.equal(capturedFrame(captured(new Uint8Array(15), LINKTYPE_ETHERNET))!.layout, 'ethernet');
  });
});
