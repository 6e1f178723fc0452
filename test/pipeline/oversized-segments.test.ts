/** GSO packets whose segments are too large for where they go: what leaves, and who is told. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { SentFrame } from '../../src/device/memory-io.ts';
import type { PlanGreLink } from '../../src/pipeline/plan.ts';
import { FRAME_PREFIX_BYTES, FRAME_SEGMENT_GRE } from '../../src/wire/frame.ts';
import { GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, TCP_ACK, TCP_SYN } from '../../src/wire/packet.ts';
import { MemoryGateway, type MemoryGatewayOptions } from '../support/memory-gateway.ts';
import { tcp, udp } from '../support/packets.ts';
import { problemsOf } from '../support/plain-packets.ts';
import { ReassemblyRig } from '../support/reassembly-rig.ts';
import { superFrame } from '../support/super-frame.ts';

const LINK: PlanGreLink = {
  kind: 'gre',
  local: '192.0.2.1',
  remote: '198.51.100.10',
  key: null,
  checksum: false,
  sequence: false,
  ttl: 64,
  device: 9,
  sourceAddresses: [],
};

/** paris by a device of 1500 bytes; lyon by one of 1000, nice by GRE with 1000 bytes inside. */
const lab: MemoryGatewayOptions = {
  sites: [
    { name: 'paris', prefixes: ['10.0.1.0/24', 'fd00:1::/64'] },
    { name: 'lyon', prefixes: ['10.0.2.0/24', 'fd00:2::/64'], mtu: 1000 },
    {
      name: 'nice',
      prefixes: ['10.0.3.0/24', 'fd00:3::/64'],
      tunnels: [{ name: 'nice', mtu: 1000, link: LINK }],
    },
  ],
};

const packetOf = (sent: SentFrame): Uint8Array => sent.frame.slice(FRAME_PREFIX_BYTES);
const gsoSizeOf = (sent: SentFrame): number => sent.frame[4]! | (sent.frame[5]! << 8);
const dataOf = (bytes: number): Uint8Array => new Uint8Array(bytes).map((_, index) => index * 13);

/** A gateway with an established flow from paris, so that data may pass. */
function connected(from: string, to: string): MemoryGateway {
  const gateway = new MemoryGateway(lab);
  assert.equal(gateway.send('paris', tcp(from, to, TCP_SYN, { sequence: 99 })).length, 1);
  const port = to.includes('2.10') || to.includes('fd00:2') ? 'lyon' : 'nice';
  if (port === 'lyon') gateway.send(port, tcp(to, from, TCP_SYN | TCP_ACK, { acknowledgment: 100 }));
  return gateway;
}

describe('TCP segments that are too large', () => {
  const ends = ['10.0.1.10 1000', '10.0.2.10 80'] as const;

  it('become smaller segments if they may be fragmented', () => {
    const gateway = connected(...ends);
    const payload = dataOf(10_000);
    const spec = tcp(...ends, TCP_ACK, { sequence: 100, acknowledgment: 1, payload }, { identification: 7 });
    const [sent, ...others] = gateway.sendFrame('paris', superFrame(spec, GSO_TCPV4, 1460));
    assert.deepEqual(others, []);
    assert.equal(sent?.frame[1], GSO_TCPV4);
    assert.equal(gsoSizeOf(sent), 1000 - 40);
    assert.deepEqual(packetOf(sent).slice(40), payload);
    assert.deepEqual(gateway.drops('paris'), {});
  });

  it('are refused if not, with the packet as it was on the wire', () => {
    const gateway = connected(...ends);
    const fields = { sequence: 100, acknowledgment: 1, payload: dataOf(10_000) };
    const spec = tcp(...ends, TCP_ACK, fields, { dontFragment: true });
    const [sent] = gateway.sendFrame('paris', superFrame(spec, GSO_TCPV4, 1460));
    assert.deepEqual([...packetOf(sent!).slice(20, 22)], [3, 4]);
    assert.deepEqual(gateway.drops('paris'), { too_big: 1 });
  });

  it('pass a device unchanged if they fit', () => {
    const gateway = connected(...ends);
    const spec = tcp(...ends, TCP_ACK, { sequence: 100, acknowledgment: 1, payload: dataOf(5000) });
    const [sent] = gateway.sendFrame('paris', superFrame(spec, GSO_TCPV4, 960));
    assert.equal(gsoSizeOf(sent!), 960);
  });

  it('of IPv6 become smaller for a narrow tunnel, up to packets of 1280 bytes', () => {
    const to = 'fd00:3::10 80';
    for (const [bytes, expected] of [
      [1280, 1000 - 60],
      [1281, undefined],
    ] as const) {
      const gateway = connected('fd00:1::10 1000', to);
      const syn = tcp('fd00:1::10 2000', to, TCP_SYN, { sequence: 99, payload: dataOf(5000) });
      const [sent, ...others] = gateway.sendFrame('paris', superFrame(syn, GSO_TCPV6, bytes - 60));
      assert.deepEqual(others, []);
      assert.equal(sent?.flags, expected === undefined ? 0 : FRAME_SEGMENT_GRE);
      if (expected !== undefined) assert.equal(gsoSizeOf(sent), expected);
      else assert.deepEqual(gateway.drops('paris'), { too_big: 1 });
    }
  });
});

describe('UDP datagrams that are too large', () => {
  it('are made one by one and fragmented if they may be', () => {
    const gateway = new MemoryGateway(lab);
    const payload = dataOf(63_900);
    const spec = udp('10.0.1.10 1000', '10.0.2.10 53', payload, { identification: 7, trafficClass: 0xb8 });
    const sent = gateway.sendFrame('paris', superFrame(spec, GSO_UDP_L4, 1400));
    assert.deepEqual(gateway.drops('paris'), {});
    const rig = new ReassemblyRig();
    const identifications = new Set<number>();
    let pieces: Uint8Array[] = [];
    let at = 0;
    for (const frame of sent) {
      const packet = packetOf(frame);
      assert.ok(packet.length <= 1000);
      pieces.push(packet);
      const isLastDatagram = at + 1400 >= payload.length;
      if ((packet[6]! & 0x20) !== 0) continue;
      const whole = pieces.length === 1 ? packet : rig.complete(pieces);
      const identification = (packet[4]! << 8) | packet[5]!;
      assert.ok(!identifications.has(identification));
      identifications.add(identification);
      // The last one fits: the device completes its checksum.
      if (isLastDatagram) assert.equal(frame.frame[0], 1);
      else assert.deepEqual(problemsOf(whole), []);
      const data = whole.slice(28);
      assert.deepEqual(data, payload.slice(at, at + 1400));
      assert.equal(whole[1], 0xb8);
      at += data.length;
      pieces = [];
    }
    assert.equal(at, payload.length);
    assert.equal(identifications.size, Math.ceil(payload.length / 1400));
  });

  it('are refused if not', () => {
    const gateway = new MemoryGateway(lab);
    const spec = udp('10.0.1.10 1000', '10.0.2.10 53', dataOf(9000), { dontFragment: true });
    gateway.sendFrame('paris', superFrame(spec, GSO_UDP_L4, 1400));
    assert.deepEqual(gateway.drops('paris'), { too_big: 1 });
  });

  it('of IPv6 pass a narrow tunnel in outer fragments', () => {
    const gateway = new MemoryGateway(lab);
    const payload = dataOf(1232 * 3 + 100);
    const spec = udp('fd00:1::10 1000', 'fd00:3::10 53', payload);
    const sent = gateway.sendFrame('paris', superFrame(spec, GSO_UDP_L4, 1232));
    assert.deepEqual(gateway.drops('paris'), {});
    assert.equal(sent.length, 3 * 2 + 1);
    const rig = new ReassemblyRig();
    for (let datagram = 0; datagram < 3; datagram++) {
      const inner = rig.complete(sent.slice(datagram * 2, datagram * 2 + 2).map(packetOf)).slice(24);
      assert.deepEqual(problemsOf(inner), []);
      assert.deepEqual(inner.slice(48), payload.slice(datagram * 1232, (datagram + 1) * 1232));
    }
    assert.equal(packetOf(sent[6]!).length, 24 + 48 + 100);
  });

  it('stop where the output list ends, and are counted once each', () => {
    const gateway = new MemoryGateway(lab);
    const frame = superFrame(udp('10.0.1.10 1000', '10.0.2.10 53', dataOf(64_000)), GSO_UDP_L4, 1400);
    // In one burst: eleven make 1012 frames, the list has room for 1024.
    for (let count = 0; count < 12; count++) gateway.io.inject(1, frame, 'frame');
    const sent = gateway.sendFrame('paris', frame);
    assert.deepEqual(gateway.drops('paris'), { output_full: 2 });
    assert.equal(sent.length, gateway.io.tx.capacity);
  });
});
