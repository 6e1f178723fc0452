/** Metrics of a gateway in memory: they say what happened, in a text that is right, and all of them are documented. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, it } from 'node:test';
import { type Family, parseExposition } from '../../../test/support/exposition-parser.ts';
import { MemoryGateway } from '../../../test/support/memory-gateway.ts';
import { udp } from '../../../test/support/packets.ts';
import { PORT_UP } from '../../flow/counters.ts';
import { FlowMemory } from '../../flow/flow-memory.ts';
import type { LoadedPlugin } from '../../pipeline/plugin-link.ts';
import { VERDICT_CONTINUE, VERDICT_DROP } from '../../plugin/contract.ts';
import { PORT_STATES } from '../../tunnel/port-state.ts';
import { METRICS } from './catalogue.ts';
import { collectMetrics, type IpsecSample, type MetricSources } from './collect.ts';
import type { Metric } from './exposition.ts';

const ROOT = resolve(import.meta.dirname, '../../..');
const ALL: readonly Metric[] = Object.values(METRICS);

const judge: LoadedPlugin = {
  name: 'judge',
  phase: 'policy',
  half: { flowSetup: ({ destinationPort }) => (destinationPort === 1 ? VERDICT_DROP : VERDICT_CONTINUE) },
};

function makeGateway(): MemoryGateway {
  return new MemoryGateway({
    sites: [
      { name: 'paris', prefixes: ['10.0.1.0/24'], tunnels: [{ name: 'paris-1' }, { name: 'paris-2' }] },
      { name: 'lyon', prefixes: ['10.0.1.0/24'] },
    ],
    egress: [{ name: 'internet', pools: [{ address: '203.0.113.1', portMin: 61000, portMax: 61999 }] }],
    flowTable: { perTunnel: 256 },
    policyPlugins: [judge],
  });
}

function scrape(gateway: MemoryGateway, other: Partial<MetricSources> = {}): Map<string, Family> {
  const opened = FlowMemory.open(gateway.buffer);
  assert.ok(opened.usable);
  const text = collectMetrics({
    version: '1.2.3',
    startedAtMs: 1_700_000_000_500,
    nowMs: gateway.nowMs + 250,
    plan: gateway.plan,
    memory: opened.memory,
    dataPlane: { state: 'forwarding', pid: process.pid, restarts: 2, lastFailure: null },
    problems: 1,
    health: () => null,
    ipsec: () => null,
    condition: () => ({ state: 'up', reason: null, sinceMs: 1_700_000_001_500 }),
    plugins: [
      {
        name: 'judge',
        tripped: { cause: 'exception', message: 'no idea' },
        held: 4,
        counters: { refused: 5 },
        controlHalf: { failures: 6, counters: { asked: 7 } },
      },
      { name: 'return-routing', tripped: null, held: 0, counters: {}, controlHalf: undefined },
    ],
    flowLog: {
      events: 5,
      waiting: 4,
      lost: 3,
      suppressed: 2,
      file: { writtenBytes: 1000, errors: 1 },
      ipfix: { messages: 7, records: 8, lost: 9, problem: '' },
    },
    ...other,
  });
  return parseExposition(text);
}

function value(families: Map<string, Family>, name: string, labels: Record<string, string> = {}) {
  return families.get(`homeward_${name}`)?.samples.get(JSON.stringify(labels));
}

const IPSEC: IpsecSample = {
  traffic: { bytesIn: 100, packetsIn: 1, bytesOut: 300, packetsOut: 2 },
  rekeyings: { ike: 5, child: 6 },
  // An authority's certificate and the one that takes its place have the same name.
  certificates: ['2026-12-24T00:00:00Z', '2026-12-01T00:00:00Z'].map((ends) => ({
    whose: 'peer',
    subject: 'CN=lyon.example',
    ends,
  })),
};

describe('metrics', () => {
  it('say what health checks say', () => {
    const families = scrape(makeGateway(), {
      health: (tunnel) =>
        tunnel === 'paris-2'
          ? {
              state: 'degraded',
              since: '2026-05-04T09:30:00.000Z',
              target: '10.0.1.1',
              rttMs: 12.5,
              lossRatio: 0.25,
              sent: 8,
              lost: 2,
            }
          : null,
    });
    const port = { port: 'paris-2', site: 'paris' };
    assert.equal(value(families, 'tunnel_health', { ...port, state: 'degraded' }), 1);
    assert.equal(value(families, 'tunnel_health', { ...port, state: 'healthy' }), 0);
    assert.equal(value(families, 'tunnel_rtt_seconds', port), 0.0125);
    assert.equal(value(families, 'tunnel_loss_ratio', port), 0.25);
    assert.equal(value(families, 'tunnel_probes_total', { ...port, result: 'answered' }), 6);
    assert.equal(value(families, 'tunnel_probes_total', { ...port, result: 'lost' }), 2);
    assert.equal(value(families, 'tunnel_loss_ratio', { port: 'lyon', site: 'lyon' }), undefined);
  });

  it('say how IPsec tunnels are', () => {
    const families = scrape(makeGateway(), { ipsec: (tunnel) => (tunnel === 'lyon' ? IPSEC : null) });
    const port = { port: 'lyon', site: 'lyon' };
    assert.equal(value(families, 'ipsec_bytes_total', { ...port, direction: 'out' }), 300);
    assert.equal(value(families, 'ipsec_rekeyings_total', { ...port, sa: 'child' }), 6);
    const certificate = { certificate: 'peer', subject: 'CN=lyon.example' };
    assert.equal(
      value(families, 'ipsec_certificate_expiry_timestamp_seconds', { ...port, ...certificate }),
      Date.parse('2026-12-01T00:00:00Z') / 1000,
    );
  });

  it('say in which state each port is, in one word of six, and since when', () => {
    const families = scrape(makeGateway(), {
      condition: (port) =>
        port === 'paris-2'
          ? { state: 'degraded', reason: 'next hop 10.0.1.2 does not answer', sinceMs: 1_700_000_002_000 }
          : { state: 'up', reason: null, sinceMs: 1_700_000_001_500 },
    });
    const port = { port: 'paris-2', site: 'paris' };
    const states = PORT_STATES.map((state) => value(families, 'port_state', { ...port, state }));
    assert.deepEqual(states, [0, 0, 0, 1, 0, 0]);
    assert.equal(value(families, 'port_state_since_timestamp_seconds', port), 1_700_000_002);
    assert.equal(value(families, 'port_state', { port: 'internet', site: '', state: 'up' }), 1);
    assert.equal(families.get('homeward_port_state')!.samples.size, 4 * PORT_STATES.length);
  });

  it('say what happened', () => {
    const gateway = makeGateway();
    const from = { port: 'paris-1', site: 'paris' };
    const out = { port: 'internet', site: '' };
    const [sent] = gateway.send('paris-1', udp('10.0.1.10 5000', '198.51.100.7 53', 'question'));
    gateway.send('internet', udp('198.51.100.7 53', `203.0.113.1 ${sent!.sourcePort}`, 'answer'));
    gateway.send('paris-2', udp('10.0.1.10 5000', '198.51.100.7 53', 'by the other tunnel'));
    gateway.send('lyon', udp('10.0.1.10 5000', '198.51.100.7 1'));
    gateway.send('lyon', udp('10.0.1.10 5000', '192.168.9.9 53'));
    for (const { index } of gateway.plan.ports) gateway.assembly.counters.setPort(index, PORT_UP, 1);
    gateway.pass(100);
    const families = scrape(gateway);
    const is = (name: string, labels: Record<string, string>, expected: number) =>
      assert.equal(value(families, name, labels), expected, `${name} ${JSON.stringify(labels)}`);

    is('build_info', { version: '1.2.3', node: process.versions.node }, 1);
    is('start_time_seconds', {}, 1_700_000_000.5);
    is('plan_generation', {}, 1);
    is('problems', {}, 1);
    is('dataplane_up', {}, 1);
    is('dataplane_restarts_total', {}, 2);
    is('dataplane_silent_seconds', {}, 0.25);
    is('flows', {}, 1);
    is('flows_limit', {}, 1024);
    is('flows_per_tunnel_limit', {}, 256);
    is('flow_creations_total', { result: 'created' }, 1);
    is('flow_creations_total', { result: 'policy' }, 1);
    is('flow_creations_total', { result: 'private_destination' }, 1);
    is('port_info', { ...from, role: 'tunnel', type: 'device', device: 'paris-1' }, 1);
    is('port_up', from, 1);
    is('port_enabled', from, 1);
    is('port_packets_total', { ...from, direction: 'in' }, 1);
    is('port_packets_total', { ...from, direction: 'out' }, 1);
    is('port_bytes_total', { ...from, direction: 'in' }, 28 + 8);
    is('port_bytes_total', { ...out, direction: 'in' }, 28 + 6);
    is('port_flows', from, 0);
    is('port_flows', { port: 'paris-2', site: 'paris' }, 1);
    is('port_flows_created_total', from, 1);
    is('port_repins_total', { port: 'paris-2', site: 'paris' }, 1);
    is('dropped_packets_total', { port: 'lyon', site: 'lyon', reason: 'policy' }, 1);
    is('port_unexpected_replies_total', from, 0);
    is('port_foreign_replies_total', { port: 'paris-2', site: 'paris' }, 0);
    is('plugin_calls_total', { plugin: 'judge' }, 2);
    is('plugin_calls_total', { plugin: 'return-routing' }, 1);
    is('plugin_failures_total', { plugin: 'judge', cause: 'exception' }, 0);
    is('plugin_tripped', { plugin: 'judge' }, 1);
    is('plugin_tripped', { plugin: 'return-routing' }, 0);
    is('plugin_held_flows', { plugin: 'judge' }, 4);
    is('plugin_control_failures_total', { plugin: 'judge' }, 6);
    is('plugin_counter_total', { plugin: 'judge', counter: 'refused' }, 5);
    is('plugin_counter_total', { plugin: 'judge', counter: 'asked' }, 7);
    const pool = { egress: 'internet', address: '203.0.113.1', protocol: 'udp' };
    is('external_ports', { ...pool, state: 'live' }, 1);
    is('external_ports', { ...pool, state: 'held' }, 0);
    is('external_ports', { ...pool, protocol: 'tcp', state: 'live' }, 0);
    is('external_ports_limit', pool, 1000);
    is('flow_log_lost_total', {}, 3);
    is('ipfix_lost_total', {}, 9);
    assert.ok(value(families, 'process_resident_memory_bytes', { process: 'control' })! > 1e6);

    for (let second = 0; second < 310; second++) gateway.pass(1000);
    const later = scrape(gateway);
    assert.equal(value(later, 'flows'), 0);
    assert.equal(value(later, 'flow_ends_total', { how: 'timed_out' }), 1);
    assert.equal(value(later, 'external_ports', { ...pool, state: 'live' }), 0);
    assert.equal(value(later, 'external_ports', { ...pool, state: 'held' }), 1);
  });

  it('are there without a data plane, and without a plan', () => {
    const gateway = makeGateway();
    for (const { index } of gateway.plan.ports) gateway.assembly.counters.setPort(index, PORT_UP, 1);
    const dataPlane = { state: 'waiting', pid: null, restarts: 9, lastFailure: 'gone' } as const;
    const families = scrape(gateway, { dataPlane });
    assert.equal(value(families, 'dataplane_up'), 0);
    assert.equal(value(families, 'port_up', { port: 'lyon', site: 'lyon' }), 0);
    const bare = scrape(gateway, { dataPlane, plan: undefined, memory: undefined, flowLog: undefined });
    assert.equal(value(bare, 'dataplane_restarts_total'), 9);
    assert.equal(bare.get('homeward_flows'), undefined);
  });

  it('are all in the catalogue, and all of it is made', () => {
    const gateway = makeGateway();
    gateway.send('lyon', udp('10.0.1.10 5000', '192.168.9.9 53'));
    const health = {
      state: 'healthy',
      since: '2026-05-04T09:30:00.000Z',
      target: '10.0.1.1',
      rttMs: 1,
      lossRatio: 0,
      sent: 1,
      lost: 0,
    } as const;
    const families = scrape(gateway, { health: () => health, ipsec: () => IPSEC });
    assert.deepEqual([...families.keys()].sort(), ALL.map(({ name }) => name).sort());
    for (const metric of ALL) {
      const family = families.get(metric.name)!;
      assert.deepEqual([family.type, family.help], [metric.type, metric.help]);
      for (const labels of family.samples.keys()) {
        assert.deepEqual(Object.keys(JSON.parse(labels)), metric.labels, metric.name);
      }
    }
  });
});

describe('what is written about metrics', () => {
  it('docs/metrics.md has every one, in these words', () => {
    const page = readFileSync(join(ROOT, 'docs/metrics.md'), 'utf8');
    const documented = [...page.matchAll(/^\| `(homeward_\w+)` \|/gm)].map(([, name]) => name);
    assert.deepEqual(
      documented,
      ALL.map(({ name }) => name),
    );
    for (const { name, type, help, labels } of ALL) {
      const row = `| \`${name}\` | ${type} | ${labels.map((label) => `\`${label}\``).join(', ')} | ${help} |`;
      assert.ok(page.includes(`${row}\n`), row);
    }
  });

  it('the dashboard asks for nothing else, and only for labels that there are', () => {
    const dashboard = JSON.parse(readFileSync(join(ROOT, 'appliance/grafana/homeward.json'), 'utf8'));
    const panels = (dashboard.panels as DashboardPanel[]).flatMap((panel) => [
      panel,
      ...(panel.panels ?? []),
    ]);
    const ids = panels.map(({ id }) => id);
    assert.equal(new Set(ids).size, ids.length);
    const targets = panels.flatMap((panel) => panel.targets ?? []);
    const queries = (dashboard.templating.list as { type: string; query: unknown }[])
      .filter(({ type }) => type === 'query')
      .map(({ query }) => (typeof query === 'string' ? query : (query as { query: string }).query));
    assert.ok(targets.length > 15 && queries.length > 0);
    for (const expression of [...targets.map(({ expr }) => expr), ...queries]) checkExpression(expression);
    for (const { expr, legendFormat } of targets) {
      for (const [, label] of legendFormat.matchAll(/\{\{(\w+)\}\}/g)) {
        assert.ok(labelsIn(expr).has(label!), `${legendFormat} of ${expr}`);
      }
    }
  });
});

interface DashboardPanel {
  readonly id: number;
  readonly panels?: readonly DashboardPanel[];
  readonly targets?: readonly { readonly expr: string; readonly legendFormat: string }[];
}

/** Labels of the metrics in an expression. */
function labelsIn(expression: string): Set<string> {
  const names: readonly string[] = expression.match(/\bhomeward_\w+/g) ?? [];
  return new Set(ALL.filter(({ name }) => names.includes(name)).flatMap(({ labels }) => labels));
}

function checkExpression(expression: string): void {
  const names: readonly string[] = expression.match(/\bhomeward_\w+/g) ?? [];
  assert.ok(names.length > 0, expression);
  for (const name of names) {
    const metric = ALL.find((one) => one.name === name);
    assert.ok(metric, `${name} in ${expression}`);
    // A counter is only worth something as a rate.
    if (metric.type === 'counter') {
      assert.match(
        expression,
        new RegExp(`(rate|increase)\\(${name}\\b|label_values\\(${name}\\b`),
        expression,
      );
    }
    for (const [, matchers] of expression.matchAll(new RegExp(`\\b${name}\\{([^}]*)\\}`, 'g'))) {
      for (const [, label] of matchers!.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)) {
        assert.ok([...metric.labels, 'instance', 'job'].includes(label!), `${label} of ${expression}`);
      }
    }
  }
  for (const [, by] of expression.matchAll(/\b(?:by|on|ignoring|group_left)\s*\(([^)]*)\)/g)) {
    for (const label of by!
      .split(',')
      .map((text) => text.trim())
      .filter((text) => text !== '')) {
      assert.ok(labelsIn(expression).has(label) || label === 'instance', `${label} of ${expression}`);
    }
  }
}
