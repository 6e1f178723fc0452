/** The leak check must find what is planted, and nothing else. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { LINKTYPE_RAW } from '../../../src/device/capture.ts';
import { TCP_ACK, TCP_RST, TCP_SYN } from '../../../src/wire/packet.ts';
import { type PlainEnds, plainFragment, plainIcmp, plainIp, plainTcp, plainUdp } from '../plain-packets.ts';
import { type SeenFrame, seeFrame } from './captured-packets.ts';
import { type CheckedHost, LeakCheck, type LeakReport } from './leak-check.ts';
import { Tokens } from './tokens.ts';

const HOST = [10, 0, 1, 10];
const SERVER = [203, 0, 113, 10];
const tokens = new Tokens();
const own = tokens.issue('paris', 'internet');
const foreign = tokens.issue('lyon', 'internet');

const paris: CheckedHost = {
  name: 'paris',
  addresses: ['10.0.1.10', 'fd00:1::10'],
  neighbors: ['10.0.1.1'],
  servers: new Set(['tcp 10.0.1.10 443']),
};

const toHost: PlainEnds = { family: 4, source: SERVER, destination: HOST };
const fromHost: PlainEnds = { family: 4, source: HOST, destination: SERVER };

function bytesOf(text: string): number[] {
  return [...Buffer.from(text, 'latin1')];
}

/** As `agent/flows.py` makes datagrams. */
function message(token: string, length = 200): number[] {
  return bytesOf(`${token}${'0'.repeat(16)}${token.repeat(200)}`.slice(0, length));
}

function frame(packet: Uint8Array): SeenFrame {
  return { ...seeFrame({ data: packet, linkType: LINKTYPE_RAW }), timestampNs: 0n };
}

function check(
  delivered: readonly Uint8Array[],
  sent: readonly Uint8Array[] = [],
  resetsExpected = false,
): LeakReport {
  const leakCheck = new LeakCheck(paris, tokens, { resetsExpected });
  leakCheck.noteSent(sent.map(frame));
  leakCheck.judge(delivered.map(frame));
  return leakCheck.report();
}

function assertExplained(delivered: readonly Uint8Array[], sent?: readonly Uint8Array[]): void {
  const { leaks, delivered: counts } = check(delivered, sent);
  assert.deepEqual(leaks, []);
  assert.equal(counts.frames, delivered.length);
}

function assertLeak(why: RegExp, delivered: Uint8Array, sent?: readonly Uint8Array[]): void {
  const { leaks } = check([delivered], sent);
  assert.equal(leaks.length, 1);
  assert.match(leaks[0]!.why, why);
}

/** A handshake of the host's: what it has sent. */
const opened = [
  plainTcp(fromHost, { sourcePort: 4000, destinationPort: 7, sequence: 1000, flags: TCP_SYN }),
  plainTcp(fromHost, {
    sourcePort: 4000,
    destinationPort: 7,
    sequence: 1001,
    acknowledgment: 501,
    flags: TCP_ACK,
    data: bytesOf(own),
  }),
];

function segment(flags: number, acknowledgment: number, data = ''): Uint8Array {
  return plainTcp(toHost, {
    sourcePort: 7,
    destinationPort: 4000,
    sequence: 500,
    acknowledgment,
    flags,
    data: bytesOf(data),
  });
}

describe('the leak check on datagrams', () => {
  it('explains an answer with an own token', () => {
    assertExplained([
      plainUdp(toHost, 7, 4000, message(own)),
      plainIcmp(toHost, 0, 0, [1, 1, 0, 1], message(own)),
    ]);
  });

  it('finds the answer of another site with the same five-tuple', () => {
    assertLeak(/token of lyon and internet/, plainUdp(toHost, 7, 4000, message(foreign)));
    assertLeak(/token of lyon and internet/, plainIcmp(toHost, 0, 0, [1, 1, 0, 1], message(foreign)));
  });

  it('finds data that mixes two sites', () => {
    const mixed = [...message(own, 96), ...message(foreign, 96)];
    assertLeak(/more than one/, plainUdp(toHost, 7, 4000, mixed));
  });

  it('finds data of nobody, another destination and another protocol', () => {
    assertLeak(/without a token/, plainUdp(toHost, 7, 4000, bytesOf('hello')));
    const other = { ...toHost, destination: [10, 0, 1, 11] };
    assertLeak(/not this host/, plainUdp(other, 7, 4000, message(own)));
    assertLeak(/protocol 99/, plainIp({ ...toHost, protocol: 99, payload: new Uint8Array(8) }));
  });

  it('tells own fragments from foreign ones', () => {
    const fragments = (token: string): Uint8Array[] => {
      const whole = plainUdp(toHost, 7, 4000, message(token, 3000));
      return [plainFragment(whole, 0, 1480, 77), plainFragment(whole, 1480, 3008, 77)];
    };
    assertExplained(fragments(own));
    for (const fragment of fragments(foreign)) assertLeak(/token of lyon/, fragment);
  });

  it('finds a private source on the internet', () => {
    const host = { ...paris, isForbiddenSource: (address: string) => address.startsWith('10.') };
    const leakCheck = new LeakCheck(host, tokens);
    const source = { ...toHost, source: [10, 50, 0, 10] };
    leakCheck.judge([frame(plainUdp(source, 7, 4000, message(own)))]);
    assert.match(leakCheck.report().leaks[0]!.why, /must not be seen/);
  });
});

describe('the leak check on TCP', () => {
  it('explains the other half of an own connection', () => {
    assertExplained([segment(TCP_SYN | TCP_ACK, 1001), segment(TCP_ACK, 1033, own.slice(5) + own)], opened);
  });

  it('finds the handshake and the acknowledgments of another connection with the same five-tuple', () => {
    assertLeak(/has not sent/, segment(TCP_SYN | TCP_ACK, 2001), opened);
    assertLeak(/has not sent/, segment(TCP_ACK, 1034), opened);
    assertLeak(/has not sent/, segment(TCP_ACK, 1000), opened);
    assertLeak(/has not sent/, segment(TCP_ACK, 1001), []);
  });

  it('finds foreign data in an own connection', () => {
    assertLeak(/token of lyon/, segment(TCP_ACK, 1033, foreign), opened);
    assertLeak(/token of lyon/, segment(TCP_ACK, 1033, foreign.slice(3, 20)), opened);
    assertLeak(/more than one/, segment(TCP_ACK, 1033, own + foreign), opened);
  });

  it('finds resets, unless they are expected', () => {
    assertLeak(/reset/, segment(TCP_RST, 0), opened);
    assert.deepEqual(check([segment(TCP_RST, 0)], opened, true).leaks, []);
  });

  it('explains connections to own servers only', () => {
    const syn = (port: number): Uint8Array =>
      plainTcp(toHost, { sourcePort: 5000, destinationPort: port, sequence: 1, flags: TCP_SYN });
    assertExplained([syn(443)]);
    assertLeak(/no server/, syn(80));
  });
});

describe('the leak check on ICMP errors', () => {
  const about = (quoted: Uint8Array): Uint8Array => plainIcmp(toHost, 11, 0, [0, 0, 0, 0], quoted);

  it('explains one that quotes an own packet', () => {
    assertExplained([about(plainUdp(fromHost, 4000, 7, message(own)))]);
    assertExplained([about(opened[1]!)], opened);
  });

  it('finds one that quotes another site', () => {
    assertLeak(/token of lyon/, about(plainUdp(fromHost, 4000, 7, message(foreign))));
    assertLeak(/has not sent/, about(opened[1]!), []);
    const hidden = { ...fromHost, source: [198, 51, 100, 1] };
    assertLeak(/about a packet of 198/, about(plainUdp(hidden, 4000, 7, message(own))));
  });
});
