/** Options: what rules become, and what is said of wrong ones. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PluginOptionsError } from '../../src/plugin/contract.ts';
import { tcp, udp } from '../../test/support/packets.ts';
import { FLOWS, SETS, TOPOLOGY, valuesOf } from './firewall.fixture.ts';
import { meets } from './linear.ts';
import { Problems } from './options-check.ts';
import { type FirewallOptions, readOptions } from './rules.ts';

const LISTED = '203.0.113.7\n';
const FILES: Readonly<Record<string, string>> = {
  '/lists/listed': '# listed\n203.0.113.0/24\n\n2001:db8:bad::/48 # another\n198.51.100.4..198.51.100.6\n',
  '/lists/half': LISTED.repeat(15_000),
  '/lists/more': LISTED.repeat(15_001),
  '/lists/long': LISTED.repeat(300_000),
  '/lists/broken': '203.0.113.0/24\n203.0.113.300\n10.0.0.1/8\n',
};

function read(options: object): FirewallOptions {
  const problems = new Problems();
  const result = readOptions({ default: 'drop', ...options }, TOPOLOGY, problems, (path) => {
    const text = FILES[path];
    if (text === undefined) throw new Error(`ENOENT: no such file or directory, open '${path}'`);
    return text;
  });
  problems.throwIfAny();
  return result;
}

const SYN = 0x02;

describe('rules as fields', () => {
  const web = valuesOf(tcp('10.0.1.5 40000', '192.0.2.80 443', SYN), FLOWS.outbound);
  const dns = valuesOf(udp('203.0.113.9 40000', '192.0.2.53 53'), FLOWS.inbound);
  const cases: readonly [match: unknown, web: boolean, dns: boolean][] = [
    [{}, true, true],
    [{ source: '10.0.0.0/8' }, true, false],
    [{ source: '@servers', destination_port: '@web', protocol: 'tcp' }, true, false],
    [{ source: ['fd00::/8', '10.0.1.0..10.0.1.9'] }, true, false],
    [{ destination_port: [53, '80..90'] }, false, true],
    [{ source: '@listed' }, false, true],
    [{ protocol: ['tcp', 17] }, true, true],
    [{ family: 'ipv4', not: { protocol: 'tcp', destination_port: 443 } }, false, true],
    [{ family: ['ipv6'] }, false, false],
    [{ tcp_flags: ['syn', '!ack'] }, true, false],
    [{ tcp_flags: 'ack' }, false, false],
    [{ from_site: 'paris', to_egress: 'internet', direction: 'outbound' }, true, false],
    [{ weekday: 'mon..fri', time: ['22:00..24:00'] }, true, true],
    ['ip.src in @listed', false, true],
  ];
  for (const [match, meetsWeb, meetsDns] of cases) {
    it(JSON.stringify(match), () => {
      const options = read({
        sets: { ...SETS, listed: { file: '/lists/listed' } },
        rules: [{ match, action: 'accept' }],
      });
      assert.deepEqual(
        [web, dns].map((packet) => meets(options.rules[0]!.condition, packet)),
        [meetsWeb, meetsDns],
      );
    });
  }
});

it('takes defaults, and what single tunnels have instead', () => {
  const options = read({
    default: 'reject',
    anti_spoofing: false,
    tunnels: { lyon: { default: 'accept' }, dc: { anti_spoofing: true } },
    rules: [
      { action: 'drop', enabled: false },
      { action: 'log', name: 'all' },
      { action: 'accept', limit: { new_flows: '90/m', per: 'source', concurrent: 4, exceeded: 'reject' } },
    ],
  });
  assert.deepEqual(options.tunnels.get('lyon'), { default: 'accept', antiSpoofing: false });
  assert.deepEqual(options.tunnels.get('dc'), { default: 'reject', antiSpoofing: true });
  assert.equal(options.timeZone, 'UTC');
  assert.deepEqual(
    options.rules.map(({ index, label, log }) => ({ index, label, log })),
    [
      { index: 1, label: 'rules[1] "all"', log: true },
      { index: 2, label: 'rules[2]', log: false },
    ],
  );
  assert.deepEqual(options.rules[1]!.limit, {
    per: 'source',
    rate: { flows: 90, perMs: 60_000, burst: 2 },
    concurrent: 4,
    exceeded: 'reject',
  });
});

describe('wrong options', () => {
  const accept = { action: 'accept' };
  const cases: readonly [options: object, message: RegExp][] = [
    [{ default: undefined }, /^default: it is missing: accept, drop or reject/],
    [{ default: 'allow' }, /^default: "allow" stands where one of accept, drop, reject should/],
    [{ rulez: [] }, /^rulez: there is no such option; did you mean "rules"\?/],
    [{ rules: {} }, /^rules: a list should stand here/],
    [{ rules: [accept, 7] }, /^rules\[1\]: a mapping should stand here/],
    [
      { rules: [{ match: 'tcp' }] },
      /^rules\[0\]\.action: it is missing: one of accept, drop, reject, log, count/,
    ],
    [{ rules: [{ action: 'acept' }] }, /^rules\[0\]\.action: "acept" .*did you mean "accept"\?/],
    [
      { rules: [accept, accept, accept, { ...accept, match: 'ip.src == 10.0.0.1 and tcp.dport == 80' }] },
      /^rules\[3\]\.match: column 24: "tcp.dport" is no field/,
    ],
    [
      { rules: [{ ...accept, match: { sorce: '10.0.0.1' } }] },
      /^rules\[0\]\.match\.sorce: there is no such field; did you mean "source"/,
    ],
    [
      { rules: [{ ...accept, match: { source: ['10.0.0.1', '10.0.0'] } }] },
      /^rules\[0\]\.match\.source\[1\]: column 1: "10.0.0" stands where/,
    ],
    [{ rules: [{ ...accept, match: { port: [] } }] }, /^rules\[0\]\.match\.port: the list is empty/],
    [
      { rules: [{ ...accept, match: { port: '80, 443' } }] },
      /^rules\[0\]\.match\.port: column 3: "," stands behind the value; several values are a list/,
    ],
    [
      { rules: [{ ...accept, match: { port: true } }] },
      /^rules\[0\]\.match\.port: a value should stand here, not a boolean/,
    ],
    [{ rules: [{ ...accept, match: { not: 5 } }] }, /^rules\[0\]\.match\.not: fields should stand here/],
    [
      { rules: [{ ...accept, match: { not: { port: 99999 } } }] },
      /^rules\[0\]\.match\.not\.port: column 1: 99999 is too large/,
    ],
    [
      { rules: [{ ...accept, match: { tcp_flags: ['sync'] } }] },
      /^rules\[0\]\.match\.tcp_flags: "sync" is no flag|tcp_flags\[0\]: "sync" is no flag/,
    ],
    [{ rules: [{ ...accept, match: 5 }] }, /^rules\[0\]\.match: an expression or a mapping of fields/],
    [
      { rules: [{ ...accept, name: 'a' }, accept, { ...accept, name: 'a' }] },
      /^rules\[2\]\.name: rules\[0\] is called "a", too/,
    ],
    [
      { rules: [{ action: 'drop', limit: { concurrent: 5 } }] },
      /^rules\[0\]\.limit: a limit belongs to a rule that accepts, not to "drop"/,
    ],
    [{ rules: [{ ...accept, limit: {} }] }, /^rules\[0\]\.limit: it limits nothing/],
    [
      { rules: [{ ...accept, limit: { new_flows: '20' } }] },
      /^rules\[0\]\.limit\.new_flows: "20" stands where a rate .*as 20\/s/,
    ],
    [
      { rules: [{ ...accept, limit: { new_flows: '5/h', burst: 300 } }] },
      /^rules\[0\]\.limit\.burst: 300 stands where a whole number from 1 to 298/,
    ],
    [
      { rules: [{ ...accept, limit: { concurrent: 5, per: 'host' } }] },
      /^rules\[0\]\.limit\.per: "host" stands where one of rule, source/,
    ],
    [
      { tunnels: { 'paris-gra': { default: 'drop' } } },
      /^tunnels\.paris-gra: there is no tunnel "paris-gra"; did you mean "paris-gre"\?/,
    ],
    [{ time_zone: 'Europe/Pari' }, /^time_zone: "Europe\/Pari" is no time zone/],
    [{ sets: { a: {} } }, /^sets\.a: a set has "ports", or "prefixes" and "file"/],
    [{ sets: { a: { ports: [80, 'x'] } } }, /^sets\.a\.ports\[1\]: column 1: "x" stands where a number/],
    [
      { sets: { a: { prefixes: ['10.0.0.0/8', '10.0.0.0/40'] } } },
      /^sets\.a\.prefixes\[1\]: column 1: "\/40" is not a length/,
    ],
    [{ sets: { 'a b': { ports: [1] } } }, /^sets\.a b: the name of a set has letters/],
    [{ sets: { a: { file: '/lists/none' } } }, /^sets\.a\.file: \/lists\/none cannot be read: ENOENT/],
    [
      { sets: { a: { file: '/lists/long' } } },
      /^sets\.a\.file: \/lists\/long has 300000 lines; all files may have 30000 together$/,
    ],
    [
      { sets: { a: { file: '/lists/half' }, b: { file: '/lists/more' } } },
      /^sets\.b\.file: \/lists\/more has 15001 lines, and files before it 15000; all files may have 30000 together$/,
    ],
    [
      { sets: { a: { file: '/lists/broken' } } },
      /^sets\.a\.file: \/lists\/broken:2: column 1: "203.0.113.300".*\nsets\.a\.file: \/lists\/broken:3: column 1: "10.0.0.1\/8" has host bits/m,
    ],
    [{ rules: Array.from({ length: 25 }, () => ({ action: 'x' })) }, /^(?:rules\[\d+\].*\n){20}and 5 more$/],
    [{ rules: Array.from({ length: 20_001 }, () => accept) }, /^rules: 20001 rules; there may be 20000$/],
  ];
  for (const [options, message] of cases) {
    it(JSON.stringify(options).slice(0, 60), () => {
      assert.throws(
        () => read(options),
        (error) => {
          assert.ok(error instanceof PluginOptionsError);
          assert.match(`${error.path}: ${error.message}`, message);
          return true;
        },
      );
    });
  }
});
