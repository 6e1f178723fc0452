/** Live flows judged anew by rules that ask for more than a flow's record has: what its first packet was like. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { PacketSpec } from '../../src/wire/build.ts';
import { FirewalledGateway, SYN } from './tested-firewall.fixture.ts';

const ECE_CWR = 0xc0;

/** First packets that differ in what no record has. */
const FIRST: Readonly<Record<string, PacketSpec>> = {
  plain: packet(1001),
  marked: { ...packet(1002), trafficClass: 46 << 2 },
  far: { ...packet(1003), ttl: 7 },
  long: packet(1004, 900),
  ecn: tcpPacket(1005, SYN | ECE_CWR),
  connection: tcpPacket(1006, SYN),
  echo: icmpPacket(8, 1007),
  timestamp: icmpPacket(13, 1008),
};
const ALL = Object.keys(FIRST);

function packet(sourcePort: number, bytes = 0): PacketSpec {
  const transport = { kind: 'udp', sourcePort, destinationPort: 53, payload: new Uint8Array(bytes) } as const;
  return { source: '10.0.1.5', destination: '10.50.0.1', transport };
}

function tcpPacket(sourcePort: number, flags: number): PacketSpec {
  const transport = { kind: 'tcp', sourcePort, destinationPort: 80, flags, sequence: 1 } as const;
  return { source: '10.0.1.5', destination: '10.50.0.1', transport };
}

function icmpPacket(type: number, identifier: number): PacketSpec {
  const payload = new Uint8Array(12);
  const transport = { kind: 'icmp', type, rest: (identifier << 16) | 1, payload } as const;
  return { source: '10.0.1.5', destination: '10.50.0.1', transport };
}

/** A gateway with one flow for each of {@link FIRST}, which the firewall has let in. */
class Rig extends FirewalledGateway {
  constructor() {
    super({ default: 'accept' });
    for (const [name, first] of Object.entries(FIRST))
      assert.equal(this.gateway.send('paris', first).length, 1, name);
    assert.equal(this.gateway.flows, ALL.length);
  }

  /** Judges all flows by these options; the names of those that stay. */
  staying(options: object): string[] {
    const { gateway } = this;
    this.configure(options);
    const { step } = gateway.assembly.reevaluation();
    while (!step(gateway.nowMs, 1));
    this.configure({ default: 'drop' });
    // Only who has a flow gets through.
    return Object.entries(FIRST)
      .filter(([, first]) => gateway.send('paris', first).length === 1)
      .map(([name]) => name);
  }

  /** As after a start of the data plane, which finds flows, but not what plugins kept of them. */
  forget(): void {
    this.standing.state.fill(0);
  }
}

const only = (match: string): object => ({ default: 'drop', rules: [{ match, action: 'accept' }] });
const without = (match: string): object => ({ default: 'accept', rules: [{ match, action: 'drop' }] });
const except = (...names: string[]): string[] => ALL.filter((name) => !names.includes(name));

it('a flow is judged anew by the packet that it began with', () => {
  const cases: readonly [string, string[]][] = [
    ['dscp == ef', ['marked']],
    ['ttl < 10', ['far']],
    ['udp and length > 500', ['long']],
    ['tcp.flags.ece == 1', ['ecn']],
    ['tcp.flags == 0x02', ['connection']],
    ['icmp.type == 8', ['echo']],
    ['icmp.type == 13 and icmp.code == 0', ['timestamp']],
  ];
  for (const [match, names] of cases) {
    assert.deepEqual(new Rig().staying(only(match)), names, match);
    assert.deepEqual(new Rig().staying(without(match)), except(...names), `not ${match}`);
  }
});

it('a flow of which that is not known stays only if it would be accepted however it began', () => {
  const udp = ['plain', 'marked', 'far', 'long'];
  const cases: readonly [object, string[]][] = [
    [only('dscp == ef'), []],
    [without('dscp == ef'), []],
    [without('udp and ttl < 10'), except(...udp)],
    [only('udp and not ttl < 10 or udp and ttl < 10'), udp],
    [only('udp and dscp == ef or tcp'), []],
    // Whatever else a TCP flow begins with, it is a SYN; and who sends an ICMP request has sent one of two.
    [only('tcp.flags.syn == 1 and tcp.flags.ack == 0'), ['ecn', 'connection']],
    [only('tcp.flags == 0x02'), []],
    [without('tcp.flags.ece == 1'), except('ecn', 'connection')],
    [only('icmp.type in {8, 13}'), ['echo', 'timestamp']],
    [only('icmp.type == 8'), []],
    [without('icmp.type == 13'), except('echo', 'timestamp')],
    // Rules behind one that decides anyway, and rules that leave the verdict to others, make no difference.
    [
      {
        default: 'drop',
        rules: [
          { match: 'udp', action: 'accept' },
          { match: 'ttl < 10', action: 'drop' },
        ],
      },
      udp,
    ],
    [{ default: 'accept', rules: [{ match: 'ttl < 10', action: 'count' }] }, ALL],
  ];
  for (const [options, names] of cases) {
    const rig = new Rig();
    rig.forget();
    assert.deepEqual(rig.staying(options), names, JSON.stringify(options));
  }
});
