/** Captures over a whole gateway in memory: what is seen of a packet, where, and with which account of it. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MemoryGateway, type MemoryGatewayOptions } from '../../../test/support/memory-gateway.ts';
import { tcp, udp } from '../../../test/support/packets.ts';
import { DROP, DROP_REASON_NAMES } from '../../plugin/drop-reasons.ts';
import { formatAddressWords } from '../../wire/address.ts';
import { buildFragments, buildPacket } from '../../wire/build.ts';
import { decode } from '../../wire/decode.ts';
import { FrameMemory } from '../../wire/frame.ts';
import { PacketView, TCP_SYN } from '../../wire/packet.ts';
import {
  type CaptureRecord,
  CaptureRingReader,
  CaptureRingWriter,
  captureRingBytes,
  formatCaptureRing,
  RECORD_FRAME,
  RECORD_RECEIVED,
  RECORD_SENT,
} from './capture-ring.ts';
import { type CaptureSelection, CaptureSession } from './capture-session.ts';
import { NO_FILTER, OP_PROTOCOL } from './filter-program.ts';

const OPTIONS: MemoryGatewayOptions = {
  sites: [
    { name: 'paris', prefixes: ['10.0.1.0/24'] },
    { name: 'lyon', prefixes: ['10.0.1.0/24'] },
  ],
  egress: [{ name: 'internet', pools: [{ address: '198.51.100.1' }] }],
};
const EVERYTHING: CaptureSelection = {
  ports: null,
  dropped: null,
  flow: 0,
  filter: NO_FILTER,
  snapBytes: 65535,
  exact: false,
};
/** Matches UDP. */
const UDP_ONLY = { instructions: [OP_PROTOCOL, 17, -1, -2], networks: [] };

class Rig {
  readonly gateway = new MemoryGateway(OPTIONS);
  readonly reader: CaptureRingReader;

  constructor(selection: Partial<CaptureSelection> = {}, ringBytes = 1 << 20) {
    const buffer = new ArrayBuffer(captureRingBytes(ringBytes));
    formatCaptureRing(buffer);
    this.reader = new CaptureRingReader(buffer);
    const session = new CaptureSession(this.gateway.io.memory, new CaptureRingWriter(buffer), {
      ...EVERYTHING,
      ...selection,
    });
    const { tap } = this.gateway.assembly;
    tap.setTime(1_700_000_000, 250_000);
    tap.setSessions([session]);
  }

  port(name: string): number {
    return this.gateway.plan.ports.find((port) => port.name === name)!.index;
  }

  records(): CaptureRecord[] {
    const records: CaptureRecord[] = [];
    for (let record = this.reader.read(); record !== undefined; record = this.reader.read())
      records.push(record);
    return records;
  }

  /** `received paris 10.0.1.5:1000 > 203.0.113.1:53 flow 1`, one for each record. */
  seen(): string[] {
    return this.records().map((record) => {
      const what = { [RECORD_RECEIVED]: 'received', [RECORD_SENT]: 'sent', [RECORD_FRAME]: 'frame' }[
        record.what
      ];
      const port = this.gateway.plan.ports.find(({ index }) => index === record.port)?.name ?? '-';
      const flow = record.flowId === 0 ? '' : ` flow ${record.flowId}`;
      const reason = record.reason === 0 ? '' : ` ${DROP_REASON_NAMES[record.reason]}`;
      return `${what} ${port} ${tuple(record.data)}${flow}${reason}`;
    });
  }
}

function tuple(packet: Uint8Array): string {
  const memory = new FrameMemory(new ArrayBuffer((packet.length + 3) & ~3));
  memory.bytes.set(packet);
  const view = new PacketView(memory);
  if (decode(view, 0, packet.length) !== 0) return `${packet.length} bytes`;
  const source = formatAddressWords(view.family, view.src0, view.src1, view.src2, view.src3);
  const destination = formatAddressWords(view.family, view.dst0, view.dst1, view.dst2, view.dst3);
  return `${source}:${view.sourcePort} > ${destination}:${view.destinationPort}`;
}

const QUERY = udp('10.0.1.5 1000', '203.0.113.1 53', 'a question');

describe('a capture', () => {
  it('shows a translated packet before and after, and its reply', () => {
    const rig = new Rig();
    const [sent] = rig.gateway.send('paris', QUERY);
    const outside = `198.51.100.1 ${sent!.sourcePort}`;
    rig.gateway.send('internet', udp('203.0.113.1 53', outside, 'an answer'));
    const external = outside.replace(' ', ':');
    assert.deepEqual(rig.seen(), [
      'received paris 10.0.1.5:1000 > 203.0.113.1:53 flow 1',
      `sent internet ${external} > 203.0.113.1:53 flow 1`,
      `received internet 203.0.113.1:53 > ${external} flow 1`,
      'sent paris 203.0.113.1:53 > 10.0.1.5:1000 flow 1',
    ]);
  });

  it('tells equal packets of two sites apart', () => {
    const rig = new Rig();
    rig.gateway.send('paris', QUERY);
    rig.gateway.send('lyon', QUERY);
    assert.deepEqual(
      rig.records().map(({ port, flowId, packetNumber }) => [port, flowId, packetNumber]),
      [
        [rig.port('paris'), 1, 1],
        [rig.port('internet'), 1, 1],
        [rig.port('lyon'), 2, 2],
        [rig.port('internet'), 2, 2],
      ],
    );
  });

  it('keeps bytes, time and length', () => {
    const rig = new Rig({ snapBytes: 21 });
    const packet = buildPacket(QUERY);
    rig.gateway.sendBytes('paris', packet);
    const [record] = rig.records();
    assert.deepEqual(record!.data, packet.slice(0, 21));
    assert.equal(record!.wireBytes, packet.length);
    assert.equal(record!.timestampNs, 1_700_000_000_250_000_000n);
  });

  it('says why a packet was dropped, and shows the answer to its sender', () => {
    const rig = new Rig();
    rig.gateway.send('paris', { ...QUERY, ttl: 1 });
    const [first, second, ...more] = rig.seen();
    assert.equal(first, 'received paris 10.0.1.5:1000 > 203.0.113.1:53 ttl_expired');
    assert.match(second!, /^sent paris 10\.0\.1\.1:\d+ > 10\.0\.1\.5:\d+$/);
    assert.deepEqual(more, []);
  });

  it('shows malformed packets as they are', () => {
    const rig = new Rig();
    const packet = buildPacket(QUERY);
    packet[10]! ^= 1;
    rig.gateway.sendBytes('paris', packet);
    const [record, ...more] = rig.records();
    assert.equal(record!.reason, DROP.bad_ip_checksum);
    assert.deepEqual(record!.data, packet);
    assert.deepEqual(more, []);
  });

  it('shows fragments as they come, and what leaves', () => {
    const rig = new Rig();
    const payload = new Uint8Array(3000).fill(7);
    const fragments = buildFragments(buildPacket(udp('10.0.1.5 1000', '203.0.113.1 53', payload)), 1500, 9);
    rig.gateway.sendAll('paris', fragments);
    const records = rig.records();
    assert.deepEqual(
      records.map(({ what, flowId }) => [what, flowId]),
      [
        ...fragments.slice(1).map(() => [RECORD_RECEIVED, 0]),
        [RECORD_RECEIVED, 1],
        ...fragments.map(() => [RECORD_SENT, 1]),
      ],
    );
    assert.deepEqual(
      records.slice(0, fragments.length).map(({ data }) => data),
      fragments,
    );
  });

  it('shows frames that the link layer drops, if it asks for drops', () => {
    for (const dropped of [null, [DROP.foreign_frame]]) {
      const rig = new Rig({ dropped });
      const packet = buildPacket(QUERY);
      // A device that the plan does not know.
      rig.gateway.io.inject(77, packet);
      rig.gateway.run();
      const [record] = rig.records();
      if (dropped === null) {
        assert.equal(record, undefined);
      } else {
        assert.deepEqual(
          [record!.what, record!.port, record!.device, record!.reason],
          [RECORD_FRAME, 0, 77, DROP.foreign_frame],
        );
        assert.deepEqual(record!.data.subarray(14), packet);
      }
    }
  });

  it('ends without a trace', () => {
    const rig = new Rig();
    rig.gateway.assembly.tap.setSessions([]);
    rig.gateway.send('paris', QUERY);
    assert.deepEqual(rig.seen(), []);
  });
});

describe('the choice of packets', () => {
  const mixed = (rig: Rig): void => {
    rig.gateway.send('paris', QUERY);
    rig.gateway.send('lyon', tcp('10.0.1.5 2000', '203.0.113.1 80', TCP_SYN));
    rig.gateway.send('lyon', udp('10.0.1.5 3000', '203.0.113.1 53', 'x'));
    rig.gateway.send('lyon', udp('10.0.1.5 3000', '10.9.9.9 53', 'x'));
  };
  const cases: readonly [
    what: string,
    selection: (rig: Rig) => Partial<CaptureSelection>,
    seen: readonly string[],
  ][] = [
    ['a tunnel: both sides', (rig) => ({ ports: [rig.port('paris')] }), ['received paris', 'sent internet']],
    ['a tunnel, exactly', (rig) => ({ ports: [rig.port('paris')], exact: true }), ['received paris']],
    [
      'a filter',
      () => ({ filter: UDP_ONLY, ports: null, exact: true }),
      ['received paris', 'sent internet', 'received lyon', 'sent internet', 'received lyon'],
    ],
    ['a flow', () => ({ flow: 2 }), ['received lyon', 'sent internet']],
    ['a reason', () => ({ dropped: [DROP.private_destination] }), ['received lyon', 'sent lyon']],
    ['another reason', () => ({ dropped: [DROP.no_route] }), []],
  ];
  for (const [what, selection, seen] of cases) {
    it(what, () => {
      const rig = new Rig(selection(new Rig()));
      mixed(rig);
      assert.deepEqual(
        rig.seen().map((line) => line.split(' ').slice(0, 2).join(' ')),
        seen,
      );
    });
  }

  it('refuses programs that could loop', () => {
    assert.throws(
      () => new Rig({ filter: { instructions: [OP_PROTOCOL, 17, 0, -2], networks: [] } }),
      RangeError,
    );
    assert.throws(() => new Rig({ filter: { instructions: [99, 0, -1, -2], networks: [] } }), RangeError);
    assert.throws(() => new Rig({ filter: { instructions: [5, 3, -1, -2], networks: [] } }), RangeError);
  });
});

describe('the ring', () => {
  it('loses what does not fit, counts it, and goes on', () => {
    const rig = new Rig({}, 65536);
    const packet = buildPacket(udp('10.0.1.5 1000', '203.0.113.1 53', new Uint8Array(1400).fill(1)));
    for (let i = 0; i < 100; i++) rig.gateway.sendBytes('paris', packet);
    const kept = rig.records();
    assert.equal(kept.length + rig.reader.lost, 200);
    assert.ok(rig.reader.lost > 100 && kept.length > 40, `${rig.reader.lost} lost`);
    assert.ok(
      kept
        .filter(({ what }) => what === RECORD_RECEIVED)
        .every(({ data }) => Buffer.compare(data, packet) === 0),
    );
  });

  it('hands over every record around its end', () => {
    const rig = new Rig({ ports: [1], exact: true }, 65536);
    let next = 0;
    for (let round = 0; round < 500; round++) {
      const packets = Array.from({ length: 3 }, (_, i) =>
        buildPacket(
          udp(`10.0.1.5 1000`, '203.0.113.1 53', new Uint8Array(((round * 7 + i) * 37) % 1400).fill(round)),
        ),
      );
      rig.gateway.sendAll('paris', packets);
      for (const packet of packets) {
        const record = rig.reader.read();
        assert.equal(Buffer.compare(record!.data, packet), 0, `record ${next}`);
        next++;
      }
      assert.equal(rig.reader.read(), undefined);
    }
    assert.equal(rig.reader.lost, 0);
  });

  it('refuses memory that is no ring', () => {
    assert.throws(() => new CaptureRingReader(new ArrayBuffer(captureRingBytes(65536))), RangeError);
    assert.throws(() => captureRingBytes(100_000), RangeError);
  });
});
