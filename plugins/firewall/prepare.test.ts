/** Options prepared outside of the data plane: the same firewall comes of them, and taking them over costs little. Files of sets. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import {
  type ControlHalf,
  type PluginOptionsError,
  VERDICT_CONTINUE,
  VERDICT_DROP,
  VERDICT_REJECT,
} from '../../src/plugin/contract.ts';
import { benchRules } from '../../test/bench/firewall-rules.ts';
import { echo, udp } from '../../test/support/packets.ts';
import { eventually } from '../../test/support/patience.ts';
import { compilePolicy } from './compile-policy.ts';
import { createFileWatch } from './control.ts';
import { FLOWS, TOPOLOGY } from './firewall.fixture.ts';
import { FORMAT, prepareOptions } from './prepare.ts';
import { dns, Tested, web } from './tested-firewall.fixture.ts';

it('is configured with what was prepared elsewhere as with the options themselves', () => {
  const rules = [
    { name: 'few', match: 'tcp', action: 'accept', log: true, limit: { concurrent: 1, per: 'source' } },
    { match: 'udp and weekday == sat', action: 'accept' },
    { match: 'ipv6.dst in {2001:db8::1..2001:db8::9}', action: 'reject' },
  ];
  const options = { default: 'drop', tunnels: { lyon: { default: 'reject' } }, rules };
  const tested = new Tested({ default: 'drop' });
  const prepared = prepareOptions({ options, topology: TOPOLOGY });
  assert.deepEqual(prepareOptions({ options, topology: TOPOLOGY }), prepared);
  tested.firewall.configure({ options: undefined, topology: TOPOLOGY, prepared })();
  assert.equal(tested.judge(web()), VERDICT_CONTINUE);
  assert.equal(tested.judge(web()), VERDICT_DROP);
  assert.equal(tested.reason, 'rules[0] "few": more than 1 flows at the same time per source');
  assert.equal(tested.judge(dns()), VERDICT_DROP);
  assert.equal(tested.judge(udp('fd00::5 1', '2001:db8::7 9')), VERDICT_REJECT);
  assert.equal(tested.judge(udp('fd00::5 1', '2001:db8::a 9')), VERDICT_DROP);
  tested.wallClockMs = Date.UTC(2026, 10, 28, 12, 0);
  tested.nowMs += 60_000;
  assert.equal(tested.judge(dns()), VERDICT_CONTINUE);
  assert.equal(tested.judge(dns('10.0.1.6'), FLOWS.internal), VERDICT_CONTINUE);
  assert.equal(tested.judge(echo('10.0.2.5', '10.50.0.1', 8, 7), FLOWS.internal), VERDICT_REJECT);
  assert.equal(tested.lines.length, 2);
  const answer = tested.firewall.query('rules', { matched: true, limit: 9 }) as { rules: unknown[] };
  assert.deepEqual(answer.rules, [
    { index: 0, name: 'few', action: 'accept', flows: 2 },
    { index: 1, name: null, action: 'accept', flows: 2 },
    { index: 2, name: null, action: 'reject', flows: 1 },
  ]);
});

it('refuses what another version has compiled, and says what to do', () => {
  const tested = new Tested({ default: 'drop' });
  const made = Buffer.from(prepareOptions({ options: { default: 'accept' }, topology: TOPOLOGY }));
  const other = Buffer.from(made);
  other.writeUInt32LE(FORMAT + 1, 4);
  const cases: readonly [Uint8Array, string][] = [
    [other, String(FORMAT + 1)],
    [made.subarray(8), 'none'],
    [made.subarray(0, 7), 'none'],
    [new Uint8Array(0), 'none'],
  ];
  for (const [prepared, format] of cases) {
    assert.throws(
      () => tested.firewall.configure({ options: undefined, topology: TOPOLOGY, prepared }),
      (error: Error) =>
        error.message.includes(`(format ${format}, and this data plane reads ${FORMAT}); restart homeward`),
    );
  }
  assert.equal(tested.judge(web()), VERDICT_DROP);
  tested.firewall.configure({ options: undefined, topology: TOPOLOGY, prepared: made })();
  assert.equal(tested.judge(web()), VERDICT_CONTINUE);
});

it('has another format for every shape of what is compiled', () => {
  const rules = [
    { match: 'tcp and weekday == sat', action: 'accept', log: true, limit: { concurrent: 1, per: 'source' } },
    { name: 'listed', match: 'ipv6.dst in {2001:db8::1..2001:db8::9} and ip.ttl == 3', action: 'reject' },
    { match: 'udp', action: 'accept', limit: { new_flows: '20/s', per: 'source' } },
  ];
  const compiled = compilePolicy({ options: { default: 'drop', rules }, topology: TOPOLOGY });
  const digest = createHash('sha256').update(shapeOf(compiled)).digest('hex').slice(0, 16);
  const message = `the shape is ${shapeOf(compiled)} now: raise FORMAT, and put the new line here`;
  assert.deepEqual({ format: FORMAT, digest }, { format: 1, digest: '29fb85251b3a338a' }, message);
});

/** Names and types, without values. */
function shapeOf(value: unknown): string {
  if (value instanceof Map) return `Map<${[...new Set([...value.values()].map(shapeOf))].sort()}>`;
  if (Array.isArray(value)) return `[${[...new Set(value.map(shapeOf))].sort()}]`;
  if (value === null || typeof value !== 'object') return value === null ? 'null' : typeof value;
  if (ArrayBuffer.isView(value)) return value.constructor.name;
  const members = Object.entries(value).map(([key, member]) => `${key}:${shapeOf(member)}`);
  return `{${members.sort()}}`;
}

it('takes over ten thousand rules in a small part of the time that compiling them takes', () => {
  const rules = benchRules('mix', 10_000).map(({ match }, at) => ({
    match,
    action: 'accept',
    name: `rule ${at}`,
  }));
  const options = { default: 'accept', rules };
  const tested = new Tested({ rules: [] });
  const spentMs = (work: () => void): number => {
    const began = process.cpuUsage();
    work();
    const { user, system } = process.cpuUsage(began);
    return (user + system) / 1000;
  };
  let prepared = new Uint8Array(0);
  const compileMs = spentMs(() => {
    prepared = prepareOptions({ options, topology: TOPOLOGY }) as Uint8Array<ArrayBuffer>;
  });
  const takeMs = [1, 2, 3].map(() =>
    spentMs(() => tested.firewall.configure({ options: undefined, topology: TOPOLOGY, prepared })()),
  );
  // Of one, others on the machine may have taken the caches.
  assert.ok(Math.min(...takeMs) < compileMs / 8, `${takeMs.join(', ')} ms of ${compileMs}`);
});

it('takes files of sets anew that have changed, and keeps what it has if they are wrong', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'homeward-sets-'));
  const file = join(directory, 'listed');
  const write = (text: string, secondsAgo: number): void => {
    writeFileSync(file, text);
    const then = Date.now() / 1000 - secondsAgo;
    utimesSync(file, then, then);
  };
  let halves: ControlHalf | undefined;
  try {
    write('10.0.1.5\n', 60);
    const options = {
      default: 'accept',
      sets: { listed: { file } },
      rules: [{ name: 'listed', match: 'src in @listed', action: 'drop' }],
    };
    const tested = new Tested(options);
    halves = createFileWatch(
      {
        name: 'firewall',
        log: () => {},
        counter: () => () => {},
        send: () => {},
        prepareAnew: () => {
          // Control would do the same, and log what is refused.
          try {
            tested.configure(options);
          } catch (error) {
            tested.lines.push((error as Error).message, (error as PluginOptionsError).path);
          }
        },
        decide: () => {},
        diversion: () => assert.fail('it has none'),
      },
      20,
    );
    await halves.configure!({ options, topology: TOPOLOGY });
    assert.equal(tested.judge(web('10.0.1.5')), VERDICT_DROP);
    write('10.0.1.6\n', 50);
    await eventually('the new file is in force', () => tested.judge(web('10.0.1.5')) === VERDICT_CONTINUE);
    assert.equal(tested.judge(web('10.0.1.6')), VERDICT_DROP);
    assert.ok(tested.firewall.policy!.rules.matches[0]! >= 2);
    write('10.0.1.7\nnonsense\n', 40);
    await eventually('the wrong file is told', () => tested.lines.some((line) => line.includes(`${file}:2`)));
    assert.equal(tested.judge(web('10.0.1.6')), VERDICT_DROP);
  } finally {
    await halves?.stop?.();
    rmSync(directory, { recursive: true });
  }
});
