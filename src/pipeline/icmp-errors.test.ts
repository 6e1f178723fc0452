import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fieldsOf, PacketBench } from '../../test/support/packet-bench.ts';
import {
  hex,
  type PlainEnds,
  plainChecksum,
  plainFragment,
  plainIcmp,
  plainIp,
  plainTcp,
  plainUdp,
  problemsOf,
  randomBytes,
  seededRandom,
} from '../../test/support/plain-packets.ts';
import { decode } from '../wire/decode.ts';
import { GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, ICMP_ERROR, PacketView } from '../wire/packet.ts';
import {
  ERROR_ADMINISTRATIVELY_PROHIBITED,
  ERROR_HOST_UNREACHABLE,
  ERROR_NET_UNREACHABLE,
  ERROR_PORT_UNREACHABLE,
  ERROR_TOO_BIG,
  ERROR_TTL_EXPIRED,
  IcmpErrors,
} from './icmp-errors.ts';

const ENDS4: PlainEnds = { family: 4, source: [10, 0, 1, 2], destination: [198, 51, 100, 9], ttl: 1 };
const ENDS6: PlainEnds = {
  family: 6,
  source: [0xfd, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2],
  destination: [0x20, 1, 0xd, 0xb8, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9],
  ttl: 1,
};
const GATEWAY4 = [169, 254, 240, 0];
const GATEWAY6 = [0xfd, 0, 0, 0xa, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const NO_ADDRESS = new Int32Array(4);

/** Wire-order words of an address, as views have them. */
function words(address: readonly number[]): Int32Array {
  const bytes = address.length === 4 ? [...Array(12).fill(0), ...address] : address;
  return new Int32Array(Uint8Array.from(bytes).buffer);
}

class Rig {
  readonly bench = new PacketBench();
  readonly errors = new IcmpErrors(this.bench.scratch, 1, 2);
  private readonly decoded = new PacketView(this.bench.memory);

  build(
    view: PacketView,
    kind: number,
    mtu = 0,
    source?: Int32Array,
    port = 3,
    nowMs = 0,
  ): Uint8Array | undefined {
    const from = source ?? words(view.family === 4 ? GATEWAY4 : GATEWAY6);
    if (!this.errors.build(view, kind, mtu, from, this.bench.reply, port, nowMs)) return undefined;
    const { reply } = this.bench;
    const bytes = this.bench.bytesOf(reply);
    assert.deepEqual(problemsOf(bytes), []);
    assert.equal(reply.offset % 16, 0);
    // The view says what the decoder would say, but for addresses that the decoder does not forward.
    if (decode(this.decoded, reply.offset, reply.length) === 0) {
      assert.deepEqual(fieldsOf(reply), fieldsOf(this.decoded));
    }
    this.bench.scratch.reset();
    return bytes;
  }
}

describe('ICMP errors of our own', () => {
  it('have the right type, code and MTU', () => {
    const table: [number, number, number, number, number][] = [
      [ERROR_TTL_EXPIRED, 11, 0, 3, 0],
      [ERROR_TOO_BIG, 3, 4, 2, 0],
      [ERROR_ADMINISTRATIVELY_PROHIBITED, 3, 13, 1, 1],
      [ERROR_HOST_UNREACHABLE, 3, 1, 1, 3],
      [ERROR_NET_UNREACHABLE, 3, 0, 1, 0],
      [ERROR_PORT_UNREACHABLE, 3, 3, 1, 4],
    ];
    for (const [kind, type4, code4, type6, code6] of table) {
      const rig = new Rig();
      const mtu = kind === ERROR_TOO_BIG ? 1386 : 0;
      const rest = [0, 0, mtu >> 8, mtu & 255];
      const v4 = plainUdp(ENDS4, 1000, 53, [1, 2, 3]);
      const expected4 = plainIcmp(
        { family: 4, source: GATEWAY4, destination: ENDS4.source, trafficClass: 0xc0, flags: 0x4000 },
        type4,
        code4,
        rest,
        v4,
      );
      assert.equal(hex(rig.build(rig.bench.put(v4), kind, 1386)!), hex(expected4));
      const v6 = plainUdp(ENDS6, 1000, 53, [1, 2, 3]);
      const expected6 = plainIcmp(
        { family: 6, source: GATEWAY6, destination: ENDS6.source },
        type6,
        code6,
        rest,
        v6,
      );
      assert.equal(hex(rig.build(rig.bench.put(v6), kind, 1386)!), hex(expected6));
    }
  });

  it('quote the packet byte for byte, as much as 576 or 1280 bytes hold', () => {
    const random = seededRandom(12);
    for (const ends of [ENDS4, ENDS6]) {
      const [header, most] = ends.family === 4 ? [28, 548] : [48, 1232];
      for (const size of [0, 1, 400, 519, 520, 521, 1183, 1184, 1185, 4000]) {
        const rig = new Rig();
        const packet = plainUdp(ends, 1, 2, randomBytes(random, size));
        const error = rig.build(rig.bench.put(packet), ERROR_TTL_EXPIRED)!;
        assert.equal(error.length, header + Math.min(most, packet.length));
        assert.equal(hex(error.slice(header)), hex(packet.slice(0, most)));
      }
    }
  });

  it('come from 192.0.0.8 where the gateway has no IPv4 address, and not at all without an IPv6 one', () => {
    const rig = new Rig();
    const error = rig.build(rig.bench.put(plainUdp(ENDS4, 1, 2, [])), ERROR_TTL_EXPIRED, 0, NO_ADDRESS)!;
    assert.deepEqual([...error.slice(12, 16)], [192, 0, 0, 8]);
    assert.equal(
      rig.build(rig.bench.put(plainUdp(ENDS6, 1, 2, [])), ERROR_TTL_EXPIRED, 0, NO_ADDRESS),
      undefined,
    );
  });

  it('are never about an ICMP error, a redirect or an unknown ICMP message', () => {
    const rig = new Rig();
    const quote4 = plainUdp({ family: 4, source: [9, 9, 9, 9], destination: [10, 0, 1, 2] }, 1, 2, []);
    const quote6 = plainUdp({ ...ENDS6, source: ENDS6.destination, destination: ENDS6.source }, 1, 2, []);
    const rest = [0, 0, 0, 0];
    for (const type of [3, 4, 5, 11, 12, 9, 42]) {
      rig.bench.offer(plainIcmp(ENDS4, type, 0, rest, quote4));
      assert.equal(rig.build(rig.bench.view, ERROR_TTL_EXPIRED), undefined, `ICMP type ${type}`);
    }
    for (const type of [1, 2, 3, 4, 137, 100, 200]) {
      rig.bench.offer(plainIcmp(ENDS6, type, 0, rest, quote6));
      assert.equal(rig.build(rig.bench.view, ERROR_TTL_EXPIRED), undefined, `ICMPv6 type ${type}`);
    }
    // But about ping.
    assert.ok(rig.build(rig.bench.put(plainIcmp(ENDS4, 8, 0, rest, [1])), ERROR_TTL_EXPIRED));
    assert.ok(rig.build(rig.bench.put(plainIcmp(ENDS6, 128, 0, rest, [1])), ERROR_TTL_EXPIRED));
  });

  it('are about a first fragment, and no other', () => {
    for (const ends of [ENDS4, ENDS6]) {
      const rig = new Rig();
      const packet = plainUdp(ends, 1, 2, new Uint8Array(1992));
      assert.ok(rig.build(rig.bench.put(plainFragment(packet, 0, 1000, 1)), ERROR_TTL_EXPIRED));
      assert.equal(
        rig.build(rig.bench.put(plainFragment(packet, 1000, 2000, 1)), ERROR_TTL_EXPIRED),
        undefined,
      );
    }
  });

  it("are never about a packet from or to an address that is not one host's", () => {
    const rig = new Rig();
    const v4 = rig.bench.put(plainUdp(ENDS4, 1, 2, []));
    const good = { src: v4.src3, dst: v4.dst3 };
    for (const address of [
      [0, 0, 0, 0],
      [127, 0, 0, 1],
      [224, 0, 0, 1],
      [239, 1, 1, 1],
      [240, 0, 0, 1],
      [255, 255, 255, 255],
    ]) {
      v4.src3 = words(address)[3]!;
      assert.equal(rig.build(v4, ERROR_TTL_EXPIRED), undefined, `from ${address}`);
      v4.src3 = good.src;
      v4.dst3 = words(address)[3]!;
      assert.equal(rig.build(v4, ERROR_TTL_EXPIRED), undefined, `to ${address}`);
      v4.dst3 = good.dst;
    }
    assert.ok(rig.build(v4, ERROR_TTL_EXPIRED));
    const v6 = rig.bench.put(plainUdp(ENDS6, 1, 2, []));
    const source0 = v6.src0;
    v6.src0 = 0x000002ff;
    assert.equal(rig.build(v6, ERROR_TTL_EXPIRED), undefined);
    v6.src0 = source0;
    v6.dst0 = 0x000002ff;
    assert.equal(rig.build(v6, ERROR_TOO_BIG), undefined);
    v6.src0 = v6.src1 = v6.src2 = v6.src3 = v6.dst0 = 0;
    assert.equal(rig.build(v6, ERROR_TOO_BIG), undefined);
  });

  it('quote the first segment of a GSO packet as it would have been on the wire', () => {
    const random = seededRandom(77);
    for (const ends of [ENDS4, ENDS6]) {
      for (const mss of [100, 1000, 1448]) {
        const rig = new Rig();
        const data = randomBytes(random, 4000);
        const options = [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8];
        const tcp = { sourcePort: 1, destinationPort: 2, sequence: 7, acknowledgment: 9, options };
        const view = rig.bench.put(plainTcp(ends, { ...tcp, flags: 0x98 | 1, data }));
        asGso(rig, view, ends.family === 4 ? GSO_TCPV4 : GSO_TCPV6, mss, 16);
        const segment = plainTcp(ends, { ...tcp, flags: 0x90, data: data.slice(0, mss) });
        const [header, most] = ends.family === 4 ? [28, 548] : [48, 1232];
        assert.equal(hex(rig.build(view, ERROR_TOO_BIG, 900)!.slice(header)), hex(segment.slice(0, most)));

        const datagrams = rig.bench.put(plainUdp(ends, 1, 2, data));
        asGso(rig, datagrams, GSO_UDP_L4, mss, 6);
        const datagram = plainUdp(ends, 1, 2, data.slice(0, mss));
        assert.equal(
          hex(rig.build(datagrams, ERROR_TOO_BIG, 900)!.slice(header)),
          hex(datagram.slice(0, most)),
        );
      }
    }
  });

  it('quote a partial checksum as it would have been on the wire', () => {
    for (const ends of [ENDS4, ENDS6]) {
      const rig = new Rig();
      const packet = plainUdp(ends, 1, 2, randomBytes(seededRandom(6), 1301));
      const view = rig.bench.put(packet);
      asGso(rig, view, 0, 0, 6);
      const [header, most] = ends.family === 4 ? [28, 548] : [48, 1232];
      assert.equal(hex(rig.build(view, ERROR_TTL_EXPIRED)!.slice(header)), hex(packet.slice(0, most)));
    }
  });

  it('leave a quote alone whose transport header lies behind its end', () => {
    const rig = new Rig();
    const long = { header: 60, bytes: [0, 159, 1, 6, ...Array(1276).fill(0)] };
    const udp = plainUdp(ENDS6, 1, 2, [1, 2, 3]).slice(40);
    const packet = plainIp({ ...ENDS6, protocol: 17, extensions: [long], payload: udp });
    rig.bench.offer(packet);
    const view = rig.bench.view;
    view.checksumStart = view.l4Offset;
    view.checksumOffset = 6;
    rig.bench.memory.bytes.fill(0xa5, rig.bench.scratch.offset);
    const error = rig.build(view, ERROR_TTL_EXPIRED)!;
    assert.equal(hex(error.slice(48)), hex(packet.slice(0, 1232)));
    const behind = rig.bench.reply.offset + error.length;
    assert.ok(rig.bench.memory.bytes.slice(behind).every((byte) => byte === 0xa5));
  });

  it("do not let one sender use up its neighbours' errors, nor one port another's", () => {
    const rig = new Rig();
    const view = rig.bench.put(plainUdp(ENDS4, 1, 2, []));
    const count = (source: number, port: number, tries: number, nowMs: number): number => {
      view.src3 = words([10, 0, source >> 8, source & 255])[3]!;
      let sent = 0;
      for (let trial = 0; trial < tries; trial++) {
        if (rig.build(view, ERROR_TTL_EXPIRED, 0, undefined, port, nowMs)) sent++;
      }
      return sent;
    };
    assert.equal(count(1, 3, 500, 0), 20, 'one sender');
    assert.equal(count(1, 4, 5, 0), 5, 'the same address in another site');
    assert.equal(count(2, 3, 1, 0), 1, 'its neighbour');
    let port3 = 0;
    for (let source = 10; source < 3000; source++) port3 += count(source, 3, 1, 0);
    assert.equal(port3, 200 - 21, 'a whole site');
    assert.equal(count(3, 3, 5, 0), 0);
    assert.equal(count(5, 4, 5, 0), 5, 'another site');
    assert.ok(count(1, 3, 500, 1000) >= 20, 'a second later');
  });

  it('are not built without scratch memory', () => {
    const bench = new PacketBench(64);
    const errors = new IcmpErrors(bench.scratch, 1, 2);
    const view = bench.put(plainUdp(ENDS4, 1, 2, []));
    assert.equal(errors.build(view, ERROR_TTL_EXPIRED, 0, words(GATEWAY4), bench.reply, 0, 0), false);
  });

  it('never throw and never answer an error, whatever the packet', () => {
    const random = seededRandom(5150);
    const rig = new Rig();
    let built = 0;
    for (let count = 0; count < 5000; count++) {
      const ends = random() < 0.5 ? ENDS4 : ENDS6;
      const rest = [...randomBytes(random, 4)];
      const packet =
        random() < 0.5
          ? plainIcmp(ends, Math.floor(random() * 256), 0, rest, randomBytes(random, 60))
          : plainTcp(ends, { sourcePort: 1, destinationPort: 2, flags: 16, data: randomBytes(random, 100) });
      if (random() < 0.5) packet[Math.floor(random() * packet.length)]! ^= 1 << Math.floor(random() * 8);
      if (rig.bench.offer(packet) !== 0) continue;
      const { view } = rig.bench;
      if (random() < 0.2) {
        view.gsoType = GSO_TCPV4;
        view.gsoSize = Math.floor(random() * 3000);
      }
      if (rig.build(view, Math.floor(random() * 6), 1400, undefined, count % 1000, count * 50)) {
        built++;
        assert.notEqual(view.icmpKind, ICMP_ERROR);
      }
    }
    assert.ok(built > 1000, `${built}`);
  });
});

/** Makes a decoded packet what virtio says of it: GSO fields, and the pseudo-header's sum as checksum. */
function asGso(rig: Rig, view: PacketView, gsoType: number, gsoSize: number, checksumOffset: number): void {
  const bytes = rig.bench.bytesOf(view);
  const l4 = view.l4Offset - view.offset;
  const length = view.length - l4;
  const addresses = view.family === 4 ? bytes.slice(12, 20) : bytes.slice(8, 40);
  const sum = 65535 - plainChecksum([...addresses, 0, view.protocol, length >> 8, length & 255]);
  const field = view.l4Offset + checksumOffset;
  rig.bench.memory.bytes[field] = sum >> 8;
  rig.bench.memory.bytes[field + 1] = sum & 255;
  view.gsoType = gsoType;
  view.gsoSize = gsoSize;
  view.checksumStart = view.l4Offset;
  view.checksumOffset = checksumOffset;
}
