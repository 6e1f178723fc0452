/** What differs between two configurations. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EXAMPLE_CONFIG, EXAMPLE_FILE } from '../../../test/fixtures/example-gateway.ts';
import { pluginFolder } from '../../../test/support/plugin-folder.ts';
import { describeChange, diffConfigs } from './diff.ts';
import { type LoadedConfig, readConfig } from './load.ts';

/** The lines for a change of the example, each [from, to]. */
function lines(...changes: [from: string, to: string][]): string[] {
  let text = EXAMPLE_CONFIG;
  for (const [from, to] of changes) {
    assert.ok(text.includes(from), from);
    text = text.replace(from, () => to);
  }
  const before = readConfig(EXAMPLE_CONFIG, EXAMPLE_FILE);
  return diffConfigs(before, readConfig(text, EXAMPLE_FILE)).map(describeChange);
}

test('what means the same is no change', () => {
  assert.deepEqual(
    lines(
      ['prefixes: [10.0.1.0/24]', 'prefixes: 10.0.1.0/24   # one alone'],
      ['        ttl: 64\n', ''],
      ['    next_hop: auto\n', ''],
      ['api: { socket', 'api: { "socket"'],
      ['local: 192.0.2.1\n        remote: 198.51.100.10', 'remote: 198.51.100.10\n        local: 192.0.2.1'],
      ['plugins:\n  - name: return-routing', 'plugins: [ { name: return-routing, options: {} } ]'],
    ),
    [],
  );
});

test('a changed tunnel: only what changed, defaults marked', () => {
  assert.deepEqual(
    lines(['        key: 7\n', ''], ['mtu: 1476', 'mtu: 1400'], ['        ttl: 64\n', '        ttl: 63\n']),
    ['~ tunnel paris-gre: mtu 1476 -> 1400, key 7 -> none, ttl 64 -> 63'],
  );
  assert.deepEqual(lines(['device: wg0 }', 'device: wg0, enabled: false }']), [
    '~ tunnel dc-wg: enabled true (default) -> false',
  ]);
});

test('added and removed: what the file says of them', () => {
  assert.deepEqual(
    lines(
      [
        '  - name: datacenter\n    prefixes: [10.50.0.0/16]\n    tunnels:\n      - { name: dc-wg, type: device, device: wg0 }\n',
        '  - name: nice\n    tunnels:\n      - { name: nice-tun, type: device, device: tun9, driver: tun }\n',
      ],
      ['  - { prefix: 10.60.0.0/16, via: datacenter, priority: 100 }\n', ''],
    ),
    [
      '- site datacenter: prefixes ["10.50.0.0/16"]',
      '- tunnel dc-wg: site datacenter, type device, device wg0',
      '- route 10.60.0.0/16 via datacenter: priority 100',
      '+ site nice',
      '+ tunnel nice-tun: site nice, type device, device tun9, driver tun',
    ],
  );
});

test('a tunnel that moves to another site stays the same tunnel', () => {
  const wg = '      - { name: dc-wg, type: device, device: wg0 }\n';
  const spare = '      - { name: dc-tun, type: device, device: tun1, driver: tun }\n';
  assert.deepEqual(lines([wg, spare], ['  - name: lyon', `${wg}  - name: lyon`]), [
    '~ tunnel dc-wg: site datacenter -> paris',
    '+ tunnel dc-tun: site datacenter, type device, device tun1, driver tun',
  ]);
});

test('options, values in their own spelling', () => {
  assert.deepEqual(
    lines(
      ['max_flows: 262144', 'max_flows: 4096'],
      ['per_source: 500/s', 'per_source: unlimited'],
      ['name: gw1', 'name: gw2, state_dir: /tmp/state'],
      ['    addresses: auto', '    addresses: auto\n    reserved_ports: 50000-60000'],
      ['ipv6: source', 'ipv6: none'],
    ),
    [
      '~ option gateway.name gw1 -> gw2',
      '+ option gateway.state_dir /tmp/state',
      '~ option flow_table.max_flows 262144 -> 4096',
      '~ option flow_table.create_rate.per_source 500/s -> unlimited',
      '~ egress internet: reserved_ports auto (default) -> 50000-60000, nat.ipv6 source -> none',
    ],
  );
});

test('every change has before and after, for programs', () => {
  const before = readConfig('version: 1\n', 'a');
  const after = readConfig('version: 1\nflow_table: { max_flows: 2048 }\n', 'b');
  assert.deepEqual(diffConfigs(before, after), [
    {
      object: 'option',
      name: 'flow_table.max_flows',
      change: 'changed',
      fields: [{ field: '', before: 262144, after: 2048, beforeIsDefault: true, afterIsDefault: false }],
    },
  ]);
});

test('plugins: what is configured of them, by name, and their order', (t) => {
  const [one, two] = ['one', 'two'].map((name) =>
    pluginFolder(t, {
      manifest: { name, options: { type: 'object', properties: { rate: { type: 'integer', default: 5 } } } },
    }),
  );
  const [first, second] = [
    `- { name: one, from: ${one} }`,
    `- { name: two, from: ${two}, options: { rate: 3 } }`,
  ];
  const configured = (...plugins: readonly string[]): LoadedConfig =>
    readConfig(EXAMPLE_CONFIG.replace('- name: return-routing', plugins.join('\n  ')), EXAMPLE_FILE);
  const diff = (before: LoadedConfig, after: LoadedConfig): string[] =>
    diffConfigs(before, after).map(describeChange);
  assert.deepEqual(diff(configured(first!), configured(first!, second!)), [
    `+ plugin two: from ${two}, options.rate 3`,
  ]);
  assert.deepEqual(
    diff(
      configured(first!, second!),
      configured(
        first!,
        `- { name: two, from: ${two}, enabled: false, sites: [paris], on_failure: { timeout: pass-flow }, options: { rate: 4 } }`,
      ),
    ),
    [
      '~ plugin two: enabled true (default) -> false, options.rate 3 -> 4, sites none -> ["paris"], on_failure.timeout none -> pass-flow',
    ],
  );
  assert.deepEqual(diff(configured(first!, second!), configured(second!, first!)), [
    '~ option order of plugins ["one","two"] -> ["two","one"]',
  ]);
});
