/** What is told of ports that come, change and go: log lines, events, and what is left. */
import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { EXAMPLE_CONFIG } from '../../../test/fixtures/example-gateway.ts';
import { compile, example } from '../../../test/support/compile-example.ts';
import { COUNTERS_BYTES, Counters, NEXT_HOP_SILENT, PORT_NEXT_HOPS, PORT_UP } from '../../flow/counters.ts';
import type { Plan } from '../../pipeline/plan.ts';
import type { PortCondition } from '../../tunnel/port-state.ts';
import { type ControlEvent, ControlEvents } from '../events.ts';
import { Identities } from '../identities.ts';
import { createLogger } from '../runtime/logger.ts';
import { PortStates } from './port-states.ts';

const NAMES = ['paris-gre', 'lyon-ic', 'dc-wg', 'internet'];

class Bench {
  readonly states: PortStates;
  readonly counters = new Counters(new Float64Array(COUNTERS_BYTES / 8));
  readonly connections = new Map<string, PortCondition>();
  nowMs = 1_000_000;
  plan: Plan | undefined;
  forwards = true;
  readonly #identities = new Identities();
  readonly #lines: string[] = [];
  readonly #events: ControlEvent[] = [];

  constructor(t: TestContext) {
    const stream = new Writable({
      write: (chunk: Buffer, _, done) => {
        const { level, msg } = JSON.parse(chunk.toString()) as { level: number; msg: string };
        this.#lines.push(`${level} ${msg}`);
        done();
      },
    });
    const events = new ControlEvents();
    events.subscribe((event) => this.#events.push(event));
    this.states = new PortStates({
      plan: () => this.plan,
      counters: () => (this.forwards ? this.counters : undefined),
      connection: (tunnel) => this.connections.get(tunnel),
      health: () => null,
      lack: (role, name) => (name === 'dc-wg' ? `${role} lacks something` : undefined),
      logger: createLogger({ level: 'info', stream }),
      events,
      now: () => this.nowMs,
    });
    t.after(() => this.states.stop());
    this.run(EXAMPLE_CONFIG);
    for (const name of NAMES) this.set(name, PORT_UP, 1);
  }

  run(text: string): void {
    this.plan = compile(text, undefined, this.#identities).plan;
  }

  set(name: string, gauge: number, value: number): void {
    this.counters.setPort(this.plan!.ports.find((port) => port.name === name)!.index, gauge, value);
  }

  look(seconds = 1): { lines: string[]; events: unknown[] } {
    this.nowMs += seconds * 1000;
    this.states.look();
    const told = this.#events.splice(0).map((event) => {
      assert.ok(event.type === 'port_state');
      return [event.port, event.former, event.state, event.reason, event.since];
    });
    return { lines: this.#lines.splice(0), events: told };
  }
}

test('new ones are told, and then nothing while nothing changes', (t) => {
  const bench = new Bench(t);
  const { lines, events } = bench.look();
  assert.deepEqual(
    lines,
    NAMES.map((name) => `30 ${name} is up`),
  );
  const since = '1970-01-01T00:16:41.000Z';
  assert.deepEqual(events.slice(0, 2), [
    ['paris-gre', null, 'configured', null, since],
    ['paris-gre', 'configured', 'up', null, since],
  ]);
  assert.equal(events.length, 8);
  assert.deepEqual(bench.look(), { lines: [], events: [] });
  assert.deepEqual(bench.states.of('internet'), { state: 'up', reason: null, sinceMs: 1_001_000 });
});

test('a change is one line and one event, with the reason, and since when', (t) => {
  const bench = new Bench(t);
  bench.look();
  bench.set('lyon-ic', PORT_NEXT_HOPS, NEXT_HOP_SILENT);
  bench.set('dc-wg', PORT_UP, 0);
  const hop = 'next hop 172.20.0.2 does not answer';
  assert.deepEqual(bench.look(), {
    lines: [`40 lyon-ic is down: ${hop}`, '40 dc-wg is down: tunnel lacks something'],
    events: [
      ['lyon-ic', 'up', 'down', hop, '1970-01-01T00:16:42.000Z'],
      ['dc-wg', 'up', 'down', 'tunnel lacks something', '1970-01-01T00:16:42.000Z'],
    ],
  });
  assert.deepEqual(bench.look().lines, []);
  assert.deepEqual(bench.states.of('lyon-ic'), { state: 'down', reason: hop, sinceMs: 1_002_000 });
  bench.set('lyon-ic', PORT_NEXT_HOPS, 0);
  assert.deepEqual(bench.look().lines, ['30 lyon-ic is up']);
});

test('reasons that change all the time are in the state at once, and told now and then', (t) => {
  const bench = new Bench(t);
  bench.look();
  let lines = 0;
  for (let at = 0; at < 100; at++) {
    const reason = at % 2 === 0 ? 'the secrets differ' : 'the peer does not answer';
    bench.connections.set('paris-gre', { state: 'down', reason, sinceMs: 0 });
    lines += bench.look(0.1).lines.length;
    assert.equal(bench.states.of('paris-gre')?.reason, reason);
  }
  assert.equal(lines, 2);
  assert.equal(bench.states.of('paris-gre')?.sinceMs, 1_001_100, 'down all the time');
  bench.connections.set('paris-gre', { state: 'down', reason: 'something else', sinceMs: 0 });
  assert.deepEqual(bench.look(5).lines, ['40 paris-gre is down: something else']);
});

test('without a data plane nothing is up', (t) => {
  const bench = new Bench(t);
  bench.look();
  bench.forwards = false;
  assert.equal(bench.look().events.length, 4);
  assert.equal(bench.states.of('internet')?.reason, 'no data plane forwards');
});

test('of one that is gone nothing is left; one that becomes another begins anew', (t) => {
  const bench = new Bench(t);
  bench.look();
  bench.run(
    example(
      [
        '  - name: datacenter\n    prefixes: [10.50.0.0/16]\n    tunnels:\n      - { name: dc-wg, type: device, device: wg0 }\n',
        '',
      ],
      ['  - { prefix: 10.60.0.0/16, via: datacenter, priority: 100 }\n', ''],
    ),
  );
  assert.deepEqual(bench.look(), {
    lines: ['30 dc-wg is gone'],
    events: [['dc-wg', 'up', null, null, null]],
  });
  assert.equal(bench.states.of('dc-wg'), undefined);
  bench.run(example(['remote: 198.51.100.10', 'remote: 198.51.100.11']));
  bench.set('paris-gre', PORT_UP, 1);
  const before = bench.states.of('paris-gre')!.sinceMs;
  bench.look();
  assert.ok(bench.states.of('paris-gre')!.sinceMs > before);
});
