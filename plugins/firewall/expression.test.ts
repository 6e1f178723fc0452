/** The language of rules: what expressions mean, what is said of wrong ones, and that nothing else is thrown. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { echo, tcp, udp } from '../../test/support/packets.ts';
import type { Condition } from './condition.ts';
import { FIELDS } from './fields.ts';
import { FLOWS, NAMES, valuesOf } from './firewall.fixture.ts';
import { meets } from './linear.ts';
import { parseExpression } from './parse-expression.ts';
import { ExpressionError } from './tokens.ts';

const SEED = 20261122;

const SYN = 0x02;
const PACKETS = {
  web: valuesOf(tcp('10.0.1.5 40000', '192.0.2.80 443', SYN), FLOWS.outbound),
  dns: valuesOf(
    udp('10.0.1.5 40000', '192.0.2.53 53', 'x'.repeat(100), { trafficClass: 46 << 2 }),
    FLOWS.outbound,
  ),
  ping: valuesOf(echo('10.0.2.9', '10.50.0.1', 8, 7, '', { ttl: 3 }), FLOWS.internal),
  web6: valuesOf(tcp('fd00::5 40000', '2001:db8::80 80', SYN | 0xc0), FLOWS.outbound),
  ping6: valuesOf(echo('fd00::5', 'fd00:50::1', 128, 7), FLOWS.internal),
  forwarded: valuesOf(tcp('198.51.100.7 1234', '192.0.2.1 8443', SYN), FLOWS.inbound),
} as const;

function chosen(expression: string): string {
  const condition = parseExpression(expression, NAMES);
  return Object.entries(PACKETS)
    .filter(([, packet]) => meets(condition, packet))
    .map(([name]) => name)
    .join(' ');
}

describe('expressions', () => {
  const cases: readonly [expression: string, packets: string][] = [
    ['ip', 'web dns ping forwarded'],
    ['ipv6', 'web6 ping6'],
    ['tcp', 'web web6 forwarded'],
    ['udp or icmp or icmpv6', 'dns ping ping6'],
    ['ip.src == 10.0.1.5', 'web dns'],
    ['ip.src == 10.0.0.0/8', 'web dns ping'],
    ['ip.src != 10.0.1.5', 'ping forwarded'],
    ['not ip.src == 10.0.1.5', 'ping web6 ping6 forwarded'],
    ['ip.src in {10.0.2.0..10.0.2.255, 198.51.100.0/24}', 'ping forwarded'],
    ['ip.src in {10.0.2.0..10.0.2.255 198.51.100.0/24}', 'ping forwarded'],
    ['ip.src not in {10.0.0.0/8}', 'web6 ping6 forwarded'],
    ['ip.addr == 192.0.2.0/24', 'web dns forwarded'],
    ['ip.addr != 192.0.2.0/24', 'ping'],
    ['src in {10.0.2.9, fd00::/16}', 'ping web6 ping6'],
    ['addr == fd00:50::1', 'ping6'],
    ['src in @servers', 'web dns web6 ping6'],
    ['ip.src in @servers', 'web dns'],
    ['ipv6.src in @servers and tcp.dstport in @web', 'web6'],
    ['tcp.dstport == 443', 'web'],
    ['tcp.dstport == 0x1bb', 'web'],
    ['tcp.dstport != 443', 'web6 forwarded'],
    ['not tcp.dstport == 443', 'dns ping web6 ping6 forwarded'],
    ['dstport < 80', 'dns'],
    ['dstport <= 80', 'dns web6'],
    ['dstport >= 443', 'web forwarded'],
    ['dstport > 443', 'forwarded'],
    ['port == 1234', 'forwarded'],
    ['port != 40000', 'forwarded'],
    ['udp.port in {1..100}', 'dns'],
    ['tcp.flags == 2', 'web forwarded'],
    ['tcp.flags & 0xc0', 'web6'],
    ['tcp.flags & 0xc2 == 0x02', 'web forwarded'],
    ['tcp.flags.syn == 1', 'web web6 forwarded'],
    ['tcp.flags.ece != true', 'web forwarded'],
    ['tcp.flags.ece == 0', 'web forwarded'],
    ['icmp.type == echo-request', 'ping'],
    ['icmp.type == 8 or icmpv6.type == echo-request', 'ping ping6'],
    ['icmp.code == 0', 'ping'],
    ['proto == udp', 'dns'],
    ['proto in {icmp, icmpv6, sctp}', 'ping ping6'],
    ['ip.dsfield.dscp == ef', 'dns'],
    ['dscp >= cs1', 'dns'],
    ['ip.ttl < 5', 'ping'],
    ['ttl == 64', 'web dns web6 ping6 forwarded'],
    ['ip.len > 100', 'dns'],
    ['ipv6.plen == 20', 'web6'],
    ['length == 60', 'web6'],
    ['from.site == paris', 'web dns web6'],
    ['from.site != paris', 'ping ping6'],
    ['from.tunnel == paris-gre', 'web dns web6'],
    ['from.tunnel in {"paris-gre", lyon}', 'web dns ping web6 ping6'],
    ['from.egress == internet', 'forwarded'],
    ['to.egress == internet', 'web dns web6'],
    ['to.site == dc', 'ping ping6'],
    ['to.site != dc', 'forwarded'],
    ['direction == outbound', 'web dns web6'],
    ['direction != outbound', 'ping ping6 forwarded'],
    ['direction in {inbound internal}', 'ping ping6 forwarded'],
    // The packets come on a Wednesday at 23:30.
    ['time in {22:00..06:00}', 'web dns ping web6 ping6 forwarded'],
    ['time in {08:00..23:30}', ''],
    ['time >= 23:30 and time < 24:00 and time == 23:30', 'web dns ping web6 ping6 forwarded'],
    ['weekday in {mon..tue, thu..sun}', ''],
    ['weekday == wed', 'web dns ping web6 ping6 forwarded'],
    ['weekday in {sat..wed}', 'web dns ping web6 ping6 forwarded'],
    ['tcp && !ip || udp', 'dns web6'],
    ['tcp and (ipv6 or dstport eq 8443)', 'web6 forwarded'],
    ['tcp and ipv6 or udp', 'dns web6'],
    ['not (tcp or udp)', 'ping ping6'],
    ['not not tcp', 'web web6 forwarded'],
  ];

  for (const [expression, packets] of cases) {
    it(expression, () => assert.equal(chosen(expression), packets));
  }

  it('days and times of two rules go together', () => {
    assert.equal(chosen('weekday == wed and time in {23:00..24:00} and udp'), 'dns');
    assert.equal(chosen('weekday == thu and time in {23:00..24:00}'), '');
  });
});

describe('wrong expressions', () => {
  const cases: readonly [expression: string, column: number, reason: RegExp][] = [
    ['', 1, /the expression is empty/],
    ['tcp.dport == 80', 1, /"tcp.dport" is no field; did you mean "tcp.port"\?|"tcp.dstport"/],
    ['tcp.dstport == 70000', 16, /too large: the largest value here is 65535/],
    ['tcp.dstport == http', 16, /a number from 0 to 65535 should/],
    ['tcp.dstport = 80', 13, /equal is "=="/],
    ['tcp.dstport 80', 13, /where a comparison of "tcp.dstport" should/],
    ['tcp.dstport', 12, /the expression ends where a comparison/],
    ['tcp.dstport in 80', 16, /where a set should/],
    ['tcp.dstport in {80', 19, /the set of column 16 has no "}"/],
    ['tcp.dstport in {}', 16, /the set is empty/],
    ['tcp.dstport in {90..80}', 17, /the range 90..80 is empty/],
    ['tcp.dstport in {80-90}', 17, /a range is "80..90"/],
    ['tcp.dstport == 80..90', 16, /a range is "in \{80..90\}"/],
    ['ip.src in @serverz', 11, /no set "serverz" in "sets"; did you mean "servers"\?/],
    ['ip.src in @web', 11, /"web" is a set of ports, and a set of prefixes/],
    ['ip.src == @servers', 11, /a set stands behind "in"/],
    ['ip.src == fd00::1', 11, /is an IPv6 address, and this field is of IPv4/],
    ['ip.src == 10.0.0.1/8', 11, /host bits set: the prefix is "10.0.0.0\/8"/],
    ['ip.src == 10.0.0.1-10.0.0.9', 11, /a range is "10.0.0.1..10.0.0.9"/],
    ['ip.src == paris', 11, /an address, a prefix or a set should/],
    ['ip.src < 10.0.0.1', 10, /addresses are compared by/],
    ['ip.src in {10.0.0.1..fd00::1}', 22, /another family/],
    ['ip.src in {10.0.0.9..10.0.0.1}', 12, /is empty/],
    ['ip.src in {10.0.0.0/8..10.0.0.1}', 12, /without lengths/],
    ['from.tunnel == pariss-gre', 16, /no tunnel "pariss-gre"; did you mean "paris-gre"\?/],
    ['from.site == rome', 14, /no site "rome" \(there is paris, lyon, dc\)/],
    ['from.site < paris', 13, /names are compared by/],
    [
      'direction == outbond',
      14,
      /no direction; they are outbound, inbound, internal; did you mean "outbound"/,
    ],
    ['time in {25:00..26:00}', 10, /a time of day from 00:00 to 24:00/],
    ['time in {08:00..08:00}', 10, /is empty/],
    ['weekday == friday', 12, /no day; they are mon, tue.*did you mean "fri"/],
    ['tcp == 1', 5, /"tcp" stands by itself/],
    ['tcp.flags.syn', 14, /the expression ends where a comparison/],
    ['tcp.flags.syn == 2', 18, /where 0 or 1 should/],
    ['ip.src & 3', 10, /no number that a mask could be laid on/],
    ['tcp and', 8, /the expression ends where a field should/],
    ['tcp and or udp', 9, /"or" stands where a field/],
    ['tcp udp', 5, /join conditions with "and" or "or"/],
    ['(tcp or udp', 12, /the expression ends where "\)" should stand, for the "\(" of column 1/],
    ['tcp)', 4, /no "\(" belongs to it/],
    ['http.host contains "x"', 1, /"http.host" is no field/],
    ['length contains 5', 8, /rules see headers only/],
    ['tcp # comment', 5, /"#" has no meaning here/],
    ['from.site == "paris', 14, /no closing quote/],
    [`${'not '.repeat(60)}tcp`, 201, /more than 50 conditions within each other/],
    [`tcp or ${'udp or '.repeat(3000)}udp`, 16385, /at most 16384 characters/],
  ];

  for (const [expression, column, reason] of cases) {
    it(expression.slice(0, 40), () => {
      assert.throws(
        () => parseExpression(expression, NAMES),
        (error) => {
          assert.ok(error instanceof ExpressionError, String(error));
          assert.match(error.reason, reason);
          assert.equal(error.column, column);
          return true;
        },
      );
    });
  }
});

describe('any text', () => {
  const pieces = fc.constantFrom(
    ...FIELDS.keys(),
    ...[
      'and',
      'or',
      'not',
      'in',
      '==',
      '!=',
      '<',
      '>',
      '&',
      '(',
      ')',
      '{',
      '}',
      ',',
      '..',
      '"paris"',
      '@web',
    ],
    ...[
      '@servers',
      '80',
      '0x10',
      '10.0.0.1',
      '10.0.0.0/8',
      'fd00::/8',
      '08:00',
      'mon',
      'outbound',
      'paris',
      ' ',
    ],
  );
  const texts = fc.oneof(
    fc.array(pieces, { maxLength: 12 }).map((all) => all.join(' ')),
    fc.array(pieces, { maxLength: 12 }).map((all) => all.join('')),
    fc.string({ maxLength: 40 }),
  );

  it('is an expression or has an error within it', () => {
    let right = 0;
    fc.assert(
      fc.property(texts, (text) => {
        let condition: Condition;
        try {
          condition = parseExpression(text, NAMES);
        } catch (error) {
          assert.ok(error instanceof ExpressionError, String(error));
          assert.ok(
            error.column >= 1 && error.column <= text.length + 1,
            `column ${error.column} of ${text.length}`,
          );
          assert.ok(error.reason.length > 5);
          return;
        }
        right++;
        meets(condition, PACKETS.web);
      }),
      { seed: SEED, numRuns: 20_000 },
    );
    assert.ok(right > 50, `${right} of them were expressions`);
  });
});
