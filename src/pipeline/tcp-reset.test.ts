import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fieldsOf, PacketBench } from '../../test/support/packet-bench.ts';
import {
  hex,
  type PlainEnds,
  plainFragment,
  plainIcmp,
  plainTcp,
  plainUdp,
} from '../../test/support/plain-packets.ts';
import { decode } from '../wire/decode.ts';
import { GSO_TCPV4, PacketView } from '../wire/packet.ts';
import { REJECT_BY_ICMP, REJECT_BY_RESET, REJECT_SILENTLY, rejectKind, TcpResets } from './tcp-reset.ts';

const SYN = 2;
const RST = 4;
const ACK = 16;
const FIN = 1;

const ENDS4: PlainEnds = { family: 4, source: [10, 0, 1, 2], destination: [198, 51, 100, 9] };
const ENDS6: PlainEnds = {
  family: 6,
  source: [0xfd, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2],
  destination: [0x20, 1, 0xd, 0xb8, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9],
};

/** A reset as a host would send it; its window is 0. */
function reset(ends: PlainEnds, sequence: number, acknowledgment: number, flags: number): Uint8Array {
  const swapped = { ...ends, source: ends.destination, destination: ends.source, flags: 0x4000 };
  const packet = plainTcp(swapped, {
    sourcePort: 443,
    destinationPort: 40_000,
    sequence,
    acknowledgment,
    flags,
  });
  // The plain builder's window is 65535, in ones' complement the same as 0: the checksum stays right.
  const window = packet.length - 6;
  packet[window] = 0;
  packet[window + 1] = 0;
  return packet;
}

describe('TCP resets', () => {
  const ports = { sourcePort: 40_000, destinationPort: 443 };

  it('answer as RFC 9293, 3.10.7.1 says', () => {
    const sequence = 0xfffffff0;
    const table = [
      { tcp: { flags: SYN, sequence }, expected: [0, 0xfffffff1, RST | ACK] },
      { tcp: { flags: SYN, sequence, data: new Uint8Array(20) }, expected: [0, 5, RST | ACK] },
      { tcp: { flags: SYN, sequence, options: [2, 4, 5, 180] }, expected: [0, 0xfffffff1, RST | ACK] },
      { tcp: { flags: SYN | ACK, sequence, acknowledgment: 0x80000001 }, expected: [0x80000001, 0, RST] },
      { tcp: { flags: ACK, sequence, acknowledgment: 77, data: [1, 2] }, expected: [77, 0, RST] },
      { tcp: { flags: FIN | ACK, sequence, acknowledgment: 78 }, expected: [78, 0, RST] },
    ];
    for (const ends of [ENDS4, ENDS6]) {
      for (const { tcp, expected } of table) {
        const bench = new PacketBench();
        const view = bench.put(plainTcp(ends, { ...ports, ...tcp }));
        const before = hex(bench.bytesOf(view));
        assert.equal(new TcpResets(bench.scratch).build(view, bench.reply, 0, 0), true);
        const [seq, ack, flags] = expected as [number, number, number];
        assert.equal(hex(bench.bytesOf(bench.reply)), hex(reset(ends, seq, ack, flags)));
        assert.equal(hex(bench.bytesOf(view)), before, 'the segment is left alone');
        const decoded = new PacketView(bench.memory);
        assert.equal(decode(decoded, bench.reply.offset, bench.reply.length), 0);
        assert.deepEqual(fieldsOf(bench.reply), fieldsOf(decoded));
      }
    }
  });

  it('count all the data of a GSO segment', () => {
    const bench = new PacketBench();
    const view = bench.put(
      plainTcp(ENDS4, { ...ports, flags: SYN, sequence: 1, data: new Uint8Array(3000) }),
    );
    view.gsoType = GSO_TCPV4;
    view.gsoSize = 1000;
    assert.equal(new TcpResets(bench.scratch).build(view, bench.reply, 0, 0), true);
    assert.equal(bench.reply.acknowledgment, 3002);
    assert.equal(bench.reply.gsoType, 0);
  });

  it('are not sent for a reset, another protocol, or a fragment', () => {
    const bench = new PacketBench();
    const resets = new TcpResets(bench.scratch);
    for (const packet of [
      plainTcp(ENDS4, { ...ports, flags: RST }),
      plainTcp(ENDS4, { ...ports, flags: RST | ACK }),
      plainUdp(ENDS4, 1, 2, []),
      plainFragment(plainTcp(ENDS4, { ...ports, flags: SYN, data: new Uint8Array(100) }), 0, 64, 1),
    ]) {
      assert.equal(resets.build(bench.put(packet), bench.reply, 0, 0), false);
    }
  });

  it('end when a port has had its share', () => {
    const bench = new PacketBench();
    const resets = new TcpResets(bench.scratch);
    const view = bench.put(plainTcp(ENDS4, { ...ports, flags: SYN }));
    let sent = 0;
    while (sent < 1000 && resets.build(view, bench.reply, 1, 0)) {
      sent++;
      bench.scratch.reset();
    }
    assert.equal(sent, 200);
    assert.equal(resets.build(view, bench.reply, 2, 0), true);
    assert.equal(resets.build(view, bench.reply, 1, 10), true);
  });

  it('need scratch memory', () => {
    const bench = new PacketBench(64);
    const view = bench.put(plainTcp(ENDS4, { ...ports, flags: SYN }));
    assert.equal(new TcpResets(bench.scratch).build(view, bench.reply, 0, 0), false);
  });

  it('are for TCP, ICMP errors for the rest, and nothing for what may not be answered', () => {
    const bench = new PacketBench();
    const kindOf = (packet: Uint8Array): number => {
      bench.offer(packet);
      return rejectKind(bench.view);
    };
    const rest = [0, 1, 0, 1];
    const quote = plainUdp({ ...ENDS4, source: ENDS4.destination, destination: ENDS4.source }, 1, 2, []);
    assert.equal(kindOf(plainTcp(ENDS4, { ...ports, flags: SYN })), REJECT_BY_RESET);
    assert.equal(kindOf(plainTcp(ENDS4, { ...ports, flags: RST })), REJECT_SILENTLY);
    assert.equal(kindOf(plainUdp(ENDS6, 1, 2, [])), REJECT_BY_ICMP);
    assert.equal(kindOf(plainIcmp(ENDS4, 8, 0, rest, [])), REJECT_BY_ICMP);
    assert.equal(kindOf(plainIcmp(ENDS4, 3, 1, rest, quote)), REJECT_SILENTLY);
    assert.equal(kindOf(plainIcmp(ENDS4, 5, 1, rest, quote)), REJECT_SILENTLY);
  });
});
