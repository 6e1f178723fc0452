/** The data half: verdicts, views, what changes when it is configured anew. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  PluginOptionsError,
  PluginQueryError,
  VERDICT_CONTINUE,
  VERDICT_DROP,
  VERDICT_REJECT,
} from '../../src/plugin/contract.ts';
import type { PacketSpec } from '../../src/wire/build.ts';
import { echo, tcp, udp } from '../../test/support/packets.ts';
import { FLOWS } from './firewall.fixture.ts';
import { dns, SYN, Tested, WEDNESDAY_NOON, web } from './tested-firewall.fixture.ts';

describe('verdicts', () => {
  it('come from the first rule that matches, then from the default of the tunnel', () => {
    const tested = new Tested({
      default: 'reject',
      tunnels: { lyon: { default: 'drop' } },
      rules: [
        { name: 'web', match: 'tcp.dstport == 443', action: 'accept' },
        { match: 'tcp', action: 'drop' },
        { match: 'udp', action: 'reject' },
      ],
    });
    assert.equal(tested.judge(web()), VERDICT_CONTINUE);
    assert.equal(tested.reason, 'rules[0] "web"');
    assert.equal(tested.judge(tcp('10.0.1.5 1', '192.0.2.80 80', SYN)), VERDICT_DROP);
    assert.equal(tested.reason, 'rules[1]');
    assert.equal(tested.judge(dns()), VERDICT_REJECT);
    const ping = echo('10.0.2.5', '10.50.0.1', 8, 7);
    assert.equal(tested.judge(ping, FLOWS.internal), VERDICT_DROP);
    assert.equal(tested.reason, 'default of lyon: drop');
    assert.equal(tested.judge(echo('10.0.1.5', '192.0.2.1', 8, 7)), VERDICT_REJECT);
    assert.equal(tested.reason, 'default: reject');
    assert.deepEqual(tested.counters, { accepted: 1, dropped: 2, rejected: 2 });
    assert.deepEqual([...tested.firewall.policy!.rules.matches], [1, 1, 1]);
  });

  it('are left to the rules behind those that log and count', () => {
    const tested = new Tested({
      rules: [
        { match: 'ip', action: 'count' },
        { match: 'udp', action: 'log', name: 'names' },
        { match: 'udp', action: 'accept', log: true },
      ],
    });
    assert.equal(tested.judge(dns()), VERDICT_CONTINUE);
    assert.equal(tested.judge(web()), VERDICT_DROP);
    assert.deepEqual([...tested.firewall.policy!.rules.matches], [2, 1, 1]);
    assert.deepEqual(tested.lines, [
      'rules[1] "names" (log): udp 10.0.1.5 port 40000 to 192.0.2.53 port 53',
      'rules[2] (accept): udp 10.0.1.5 port 40000 to 192.0.2.53 port 53',
    ]);
  });

  it('do not flood the log, and no rule takes the lines of another one', () => {
    const tested = new Tested({
      rules: [
        { match: 'udp', action: 'log' },
        { name: 'pings', match: 'icmp', action: 'log' },
      ],
    });
    const ping = echo('10.0.1.5', '192.0.2.1', 8, 7);
    for (let i = 0; i < 100; i++) tested.judge(dns());
    tested.judge(ping);
    assert.equal(tested.lines.length, 21);
    assert.equal(tested.lines.at(-1), 'rules[1] "pings" (log): icmp 10.0.1.5 to 192.0.2.1');
    tested.nowMs += 60_000;
    tested.judge(dns());
    assert.equal(
      tested.lines.at(-1),
      'rules[0] (log): udp 10.0.1.5 port 40000 to 192.0.2.53 port 53; 80 lines before it were left out',
    );
    assert.deepEqual([...tested.topics], ['rules[0]', 'rules[1] "pings"']);
  });

  it('drop sources that their site does not declare, where the tunnel does not say otherwise', () => {
    const tested = new Tested({ default: 'accept', tunnels: { 'paris-ipsec': { anti_spoofing: false } } });
    assert.equal(tested.judge(web('10.0.2.5')), VERDICT_DROP);
    assert.equal(tested.reason, 'the source is outside the prefixes of its site');
    assert.equal(tested.judge(web('10.0.2.5'), { ...FLOWS.outbound, ingressPort: 2 }), VERDICT_CONTINUE);
    assert.equal(tested.judge(web('10.0.2.5'), FLOWS.internal), VERDICT_CONTINUE);
    assert.equal(tested.judge(web('198.51.100.7'), FLOWS.inbound), VERDICT_CONTINUE);
    assert.equal(tested.judge(tcp('fd00:50::1 1', '2001:db8::1 80', SYN)), VERDICT_DROP);
    assert.equal(tested.judge(tcp('fd00::1 1', '2001:db8::1 80', SYN)), VERDICT_CONTINUE);
    assert.equal(tested.counters.spoofed, 2);
    tested.configure({ default: 'accept', anti_spoofing: false });
    assert.equal(tested.judge(web('10.0.2.5')), VERDICT_CONTINUE);
  });

  it('drop what no honest sender sends', () => {
    const cases: readonly [PacketSpec, string][] = [
      [tcp('10.0.1.5 0', '192.0.2.80 443', SYN), 'invalid: TCP port 0'],
      [tcp('10.0.1.5 5', '192.0.2.80 443', SYN | 0x20), 'invalid: SYN with PSH or URG'],
      [udp('10.0.1.5 5', '192.0.2.80 0'), 'invalid: UDP destination port 0'],
    ];
    const tested = new Tested({ default: 'accept' });
    for (const [spec, reason] of cases) {
      assert.equal(tested.judge(spec), VERDICT_DROP);
      assert.equal(tested.reason, reason);
    }
    assert.equal(tested.judge(udp('10.0.1.5 0', '192.0.2.80 5')), VERDICT_CONTINUE);
    tested.configure({ default: 'accept', drop_invalid: false });
    for (const [spec] of cases) assert.equal(tested.judge(spec), VERDICT_CONTINUE);
  });

  it('depend on the time where rules do', () => {
    const office = { match: { weekday: 'mon..fri', time: '08:00..18:00' }, action: 'accept' };
    const tested = new Tested({ time_zone: 'Europe/Paris', rules: [office] });
    const at = (wallClockMs: number): number => {
      tested.wallClockMs = wallClockMs;
      tested.nowMs += 1000;
      return tested.judge(web());
    };
    assert.equal(at(WEDNESDAY_NOON), VERDICT_CONTINUE);
    // Paris is an hour ahead in winter, two in summer.
    assert.equal(at(Date.UTC(2026, 10, 25, 6, 59)), VERDICT_DROP);
    assert.equal(at(Date.UTC(2026, 10, 25, 7, 0)), VERDICT_CONTINUE);
    assert.equal(at(Date.UTC(2026, 6, 29, 6, 0)), VERDICT_CONTINUE);
    assert.equal(at(Date.UTC(2026, 10, 25, 17, 0)), VERDICT_DROP);
    assert.equal(at(Date.UTC(2026, 10, 28, 12, 0)), VERDICT_DROP);
  });

  it('go over midnight, and over hours that are left out or come twice', () => {
    const tested = new Tested({ time_zone: 'Europe/Paris' });
    const at = (match: object, wallClockMs: number): boolean => {
      tested.configure({ time_zone: 'Europe/Paris', rules: [{ match, action: 'accept' }] });
      tested.wallClockMs = wallClockMs;
      tested.nowMs += 1000;
      return tested.judge(web()) === VERDICT_CONTINUE;
    };
    const night = { time: '22:00..06:00' };
    // In November Paris is an hour ahead of UTC.
    assert.equal(at(night, Date.UTC(2026, 10, 25, 20, 59)), false);
    assert.equal(at(night, Date.UTC(2026, 10, 25, 21, 0)), true);
    assert.equal(at(night, Date.UTC(2026, 10, 26, 4, 59)), true);
    assert.equal(at(night, Date.UTC(2026, 10, 26, 5, 0)), false);
    // The day is the one that it is: of Friday's night the hours behind midnight are Saturday's.
    const friday = { weekday: 'fri', ...night };
    assert.equal(at(friday, Date.UTC(2026, 10, 27, 22, 30)), true);
    assert.equal(at(friday, Date.UTC(2026, 10, 27, 23, 30)), false);
    assert.equal(at(friday, Date.UTC(2026, 10, 26, 23, 30)), true);
    // From 2:00 it is 3:00 on 29 March; on 25 October the hour from 2:00 comes twice.
    const two = { time: '02:00..03:00' };
    assert.equal(at(two, Date.UTC(2026, 2, 29, 0, 59)), false);
    assert.equal(at(two, Date.UTC(2026, 2, 29, 1, 0)), false);
    for (const hour of [0, 1]) assert.equal(at(two, Date.UTC(2026, 9, 25, hour, 30)), true);
    assert.equal(at(two, Date.UTC(2026, 9, 25, 2, 0)), false);
  });

  it('of packets that are only asked about, or flows that are judged again, count nothing', () => {
    const limit = { new_flows: '1/h', concurrent: 1 };
    const tested = new Tested({ rules: [{ action: 'accept', log: true, limit }] });
    for (let i = 0; i < 3; i++)
      assert.equal(tested.judge(web(), FLOWS.outbound, { hypothetical: true }), VERDICT_CONTINUE);
    assert.deepEqual(tested.counters, {});
    assert.equal(tested.judge(web()), VERDICT_CONTINUE);
    assert.equal(tested.judge(web(), FLOWS.outbound, { hypothetical: true }), VERDICT_DROP);
    assert.equal(tested.judge(web(), FLOWS.outbound, { reevaluated: true }), VERDICT_CONTINUE);
    assert.deepEqual([tested.counters, tested.lines.length], [{ accepted: 1 }, 1]);
    assert.deepEqual([...tested.firewall.policy!.rules.matches], [1]);
  });
});

describe('views', () => {
  const rules = [
    { name: 'all', action: 'count' },
    { match: { weekday: ['sat', 'sun'] }, action: 'drop' },
    {
      name: 'web',
      match: 'ip.src in @servers and tcp.dstport == 443 and to.egress == internet',
      action: 'accept',
    },
    { match: 'icmp.type == echo-request or dscp == ef', action: 'reject' },
  ];
  const sets = { servers: { prefixes: ['10.0.1.5'] } };
  const asked = (
    parameters: object,
  ): { verdict: string; lines: string[]; rule: { index: number } | null } => {
    const tested = new Tested({ rules, sets });
    const answer = tested.firewall.query('test', {
      from_tunnel: 'paris-gre',
      src: '10.0.1.5',
      dst: '192.0.2.80',
      proto: 'tcp',
      ...parameters,
    });
    assert.deepEqual(tested.counters, {});
    assert.deepEqual([...tested.firewall.policy!.rules.matches], [0, 0, 0, 0]);
    return answer as never;
  };

  it('say what becomes of a packet, and which rule says so', () => {
    assert.deepEqual(asked({ dport: 443 }), {
      verdict: 'accept',
      reason: 'rules[2] "web"',
      rule: { index: 2, name: 'web', action: 'accept' },
      passed: ['rules[0] "all"'],
      lines: [
        'from paris-gre to internet',
        'rules[0] "all" matches: count, and goes on',
        'accept: rules[2] "web"',
      ],
    });
    assert.equal(asked({ dport: 443, time: 'sat 10:00' }).rule?.index, 1);
    assert.equal(asked({ dport: 443, to: 'dc' }).lines.at(-1), 'drop: default: drop');
    assert.equal(asked({ dport: 443, sport: 0 }).lines.at(-1), 'drop: invalid: TCP port 0');
    assert.equal(asked({ src: '10.0.7.5', dport: 0 }).lines.at(-1), 'drop: invalid: TCP port 0');
    assert.equal(asked({ src: '10.0.7.5', proto: 'udp', dport: 5 }).verdict, 'drop');
    assert.equal(asked({ proto: 'icmp', dst: '10.50.0.1' }).lines[0], 'from paris-gre to dc');
    // Within the sender's own site, whoever else declares it.
    assert.equal(asked({ dst: '10.0.1.9', dport: 1 }).lines[0], 'from paris-gre to paris-gre');
    assert.equal(asked({ proto: 'icmp' }).verdict, 'reject');
    assert.equal(asked({ proto: 'udp', dport: 9, dscp: 'ef', bytes: 1200, ttl: 3 }).rule?.index, 3);
  });

  it('say which parameters are no packet', () => {
    const cases: readonly [object, RegExp][] = [
      [{ src: 'here' }, /^src: "here" is no address/],
      [{ src: 'fd00::1' }, /two families/],
      [
        { from_tunnel: 'paris-gra' },
        /^from_tunnel: there is no tunnel or egress "paris-gra"; did you mean "paris-gre"\?/,
      ],
      [{ proto: 'icmpv6' }, /^proto: write icmp for these addresses/],
      [{ proto: 'tpc' }, /^proto: "tpc" stands where a number/],
      [{ time: 'noon', dport: 1 }, /^time: "noon" is no day/],
      [{ tcp_flags: 'syn,sync', dport: 1 }, /^tcp_flags: "sync" is no flag/],
      [{ dst: '224.0.0.1', sport: 1, dport: 1 }, /homeward drops it before/],
      [
        { from_tunnel: 'dc', src: '10.50.0.1', dst: '10.0.1.9', dport: 1 },
        /^to: paris and lyon declare 10\.0\.1\.9; say/,
      ],
      [{ proto: 'icmp', dport: 80 }, /^dport: icmp has none/],
      [{}, /^dport: it is missing; to which port of 192\.0\.2\.80/],
      [{ dport: 80, tcp_flags: 'syn,ack' }, /^no flow begins so/],
      [{ proto: 'icmp', icmp_type: 0 }, /^no flow begins so/],
      [{ proto: 'udp', dport: 80, tcp_flags: 'syn' }, /^tcp_flags: udp has none/],
      [{ dport: 80, icmp_type: 8 }, /^icmp_type: tcp has none/],
      [{ proto: 'gre', sport: 80 }, /^sport: gre has none/],
      [{ dport: 80, bytes: 30 }, /^bytes: this packet has 40 at least/],
    ];
    for (const [parameters, message] of cases) {
      assert.throws(
        () => asked(parameters),
        (error) => {
          assert.ok(error instanceof PluginQueryError, String(error));
          assert.match(error.message, message);
          return true;
        },
      );
    }
  });

  it('list the rules', () => {
    const tested = new Tested({ rules, sets });
    tested.judge(web());
    const answer = tested.firewall.query('rules', { matched: true, limit: 1 }) as {
      lines: string[];
      more: number;
    };
    assert.deepEqual(answer.lines, ['rules[0] "all": count, 1 new flows', 'and 1 more; --limit shows them']);
    assert.equal(answer.more, 1);
  });
});

it('options that are wrong change nothing', () => {
  const tested = new Tested({ rules: [{ match: 'udp', action: 'accept' }] });
  assert.throws(
    () => tested.configure({ rules: [{ match: 'udq', action: 'accept' }] }),
    (error) => {
      assert.ok(error instanceof PluginOptionsError);
      assert.equal(error.path, 'rules[0].match');
      assert.match(error.message, /^column 1: "udq" is no field; did you mean "udp"\?/);
      return true;
    },
  );
  assert.equal(tested.judge(dns()), VERDICT_CONTINUE);
});
