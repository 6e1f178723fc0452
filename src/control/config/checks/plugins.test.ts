/** Plugins in a configuration: where they are, for whom, in which order, with which options. */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { EXAMPLE_CONFIG, EXAMPLE_FILE } from '../../../../test/fixtures/example-gateway.ts';
import { badConfigurations } from '../../../../test/support/bad-configurations.ts';
import { pluginFolder, writePlugin } from '../../../../test/support/plugin-folder.ts';
import type { Config } from '../config.ts';
import { ConfigError } from '../errors.ts';
import { parseConfig } from '../load.ts';

badConfigurations([
  [
    'return-routing disabled',
    '- name: return-routing',
    '- { name: return-routing, enabled: false }',
    [
      '43:38: plugins.return-routing.enabled: return-routing always runs, without it no flow could come about; leave it out',
    ],
  ],
  [
    'return-routing for one site',
    '- name: return-routing',
    '- { name: return-routing, sites: paris }',
    [
      '43:36: plugins.return-routing.sites: return-routing runs for every flow, without it no flow could come about; leave it out',
    ],
  ],
  [
    'return-routing from elsewhere',
    '- name: return-routing',
    '- { name: return-routing, from: /opt/other }',
    ["43:35: plugins.return-routing.from: return-routing is always homeward's own; leave from out"],
  ],
  [
    'a relative folder',
    '- name: return-routing',
    '- { name: limiter, from: ./limiter }',
    [
      '43:28: plugins.limiter.from: ./limiter is relative, and nobody could say to what; write an absolute path',
    ],
  ],
  [
    'a folder that is not there',
    '- name: return-routing',
    '- { name: limiter, from: /nonexistent/limiter }',
    ['43:28: plugins.limiter.from: /nonexistent/limiter has no manifest.json; write the folder of a plugin'],
  ],
  [
    'a package that is not there',
    '- name: return-routing',
    '- { name: limiter, from: "@acme/limiter" }',
    [
      '43:28: plugins.limiter.from: there is no package @acme/limiter; install it, or say with gateway.plugin_dir where it is',
    ],
  ],
  [
    'unknown cause and action',
    '- name: return-routing',
    '- { name: return-routing, on_failure: { crash: reject, timeout: open } }',
    [
      '43:43: plugins.return-routing.on_failure: crash is not a known key; the keys here are exception, timeout, memory, midstream, unparsable',
      '43:67: plugins.return-routing.on_failure.timeout: open is not known here; write one of drop-packet, drop-flow, reject, pass-packet, pass-flow',
    ],
  ],
]);

/** The example with these plugins. */
function withPlugins(lines: readonly string[]): string {
  return EXAMPLE_CONFIG.replace('  - name: return-routing\n', () =>
    lines.map((line) => `  - ${line}\n`).join(''),
  );
}

function load(...lines: readonly string[]): Config {
  return parseConfig(withPlugins(lines), EXAMPLE_FILE);
}

function refusal(...lines: readonly string[]): string[] {
  try {
    load(...lines);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.message.split('\n');
  }
  throw new assert.AssertionError({ message: 'it is accepted' });
}

test('a plugin from a folder, for a site and a tunnel, with another failure policy', (t) => {
  const folder = pluginFolder(t, {
    manifest: {
      failure_policy: { exception: 'reject', timeout: 'pass-flow' },
      options: {
        type: 'object',
        properties: { burst: { type: 'integer', default: 5 }, rate: { type: 'integer' } },
      },
    },
  });
  const { plugins } = load(
    `{ name: probe, from: ${folder}/, sites: paris, tunnels: [dc-wg, internet], on_failure: { timeout: reject }, options: { rate: 3 } }`,
  );
  assert.deepEqual(
    plugins.map(({ name }) => name),
    ['probe', 'return-routing'],
  );
  const [{ manifestPath, ports, onFailure, options }] = plugins as [Config['plugins'][number]];
  assert.equal(manifestPath, join(folder, 'manifest.json'));
  assert.deepEqual(ports, ['paris-gre', 'dc-wg', 'internet']);
  assert.deepEqual(onFailure, {
    exception: 'reject',
    timeout: 'reject',
    memory: 'drop-flow',
    midstream: 'drop-flow',
    unparsable: 'drop-flow',
  });
  assert.deepEqual(options, { rate: 3, burst: 5 });
});

test('a plugin from a package in gateway.plugin_dir', (t) => {
  const folder = pluginFolder(t);
  const installed = join(folder, 'node_modules/@acme/probe');
  mkdirSync(installed, { recursive: true });
  writePlugin(installed, { manifest: { data: './data.js' }, files: { 'data.js': '' } });
  const text = withPlugins(['{ name: probe, from: "@acme/probe" }']).replace(
    'name: gw1',
    `name: gw1, plugin_dir: ${folder}`,
  );
  const { plugins } = parseConfig(text, EXAMPLE_FILE);
  assert.equal(plugins[0]?.manifestPath, join(installed, 'manifest.json'));
});

test('sites and tunnels that are not there', (t) => {
  const folder = pluginFolder(t);
  assert.deepEqual(refusal(`{ name: probe, from: ${folder}, sites: [nice], tunnels: [] }`), [
    `${EXAMPLE_FILE}:43:${36 + folder.length}: plugins.probe.sites[0]: nice is not a site; there are paris, lyon, datacenter`,
    `${EXAMPLE_FILE}:43:${52 + folder.length}: plugins.probe.tunnels: is empty; write at least one name, or leave it out for all`,
  ]);
});

test('a manifest that is wrong, and one of another plugin', (t) => {
  const folder = pluginFolder(t, { manifest: { phase: 'early' } });
  assert.deepEqual(refusal(`{ name: probe, from: ${folder} }`), [
    `${folder}/manifest.json:6:12: phase: early is not known here; write one of policy, routing`,
  ]);
  const other = pluginFolder(t);
  assert.deepEqual(refusal(`{ name: limiter, from: ${other} }`), [
    `${EXAMPLE_FILE}:43:13: plugins.limiter.name: ${other}/manifest.json names the plugin probe; write that name`,
  ]);
});

test('options by the schema of the manifest', (t) => {
  const folder = pluginFolder(t, {
    manifest: {
      options: {
        type: 'object',
        required: ['rate'],
        additionalProperties: false,
        properties: {
          rate: { type: 'integer', minimum: 1, description: 'a whole number of flows a second' },
          burst: { type: 'integer' },
        },
      },
    },
  });
  const probe = [`name: probe`, `  from: ${folder}`, `  options:`, `    rate: 0`, `    bursts: 3`].join(
    '\n  ',
  );
  assert.deepEqual(refusal(probe), [
    `${EXAMPLE_FILE}:46:13: plugins.probe.options.rate: 0 is out of range; write at least 1`,
    `${EXAMPLE_FILE}:47:7: plugins.probe.options: bursts is not a known option; did you mean burst?`,
  ]);
  assert.deepEqual(refusal(`{ name: probe, from: ${folder} }`), [
    `${EXAMPLE_FILE}:43:5: plugins.probe.options.rate: is missing; write a whole number of flows a second`,
  ]);
});

test("a plugin's own check sees options with defaults, and the sites and tunnels by name", (t) => {
  const folder = pluginFolder(t, {
    manifest: {
      check: './check.ts',
      options: { type: 'object', properties: { site: { type: 'string', default: 'nice' } } },
    },
    files: {
      'check.ts': `export function checkOptions({ options, topology }) {
        const sites = topology.spaces.flatMap(({ site }) => (site === undefined ? [] : [site]));
        return sites.includes(options.site) ? [] : [{ path: 'site', message: options.site + ' is not a site; there are ' + sites.join(', ') }];
      }\n`,
    },
  });
  assert.deepEqual(refusal(`{ name: probe, from: ${folder} }`), [
    `${EXAMPLE_FILE}:43:5: plugins.probe.options.site: nice is not a site; there are paris, lyon, datacenter`,
  ]);
  assert.deepEqual(load(`{ name: probe, from: ${folder}, options: { site: lyon } }`).plugins[0]?.options, {
    site: 'lyon',
  });
});

test('a check that fails refuses, and says whose fault it is', (t) => {
  const throwing = pluginFolder(t, {
    manifest: { check: './check.ts' },
    files: { 'check.ts': "export function checkOptions() { throw new Error('no idea'); }\n" },
  });
  assert.deepEqual(refusal(`{ name: probe, from: ${throwing} }`), [
    `${EXAMPLE_FILE}:43:13: plugins.probe.name: the check of probe (${throwing}/check.ts) fails: no idea; ask who wrote it`,
  ]);
  const empty = pluginFolder(t, { manifest: { check: './check.ts' }, files: { 'check.ts': 'export {};\n' } });
  assert.deepEqual(refusal(`{ name: probe, from: ${empty} }`), [
    `${EXAMPLE_FILE}:43:13: plugins.probe.name: ${empty}/check.ts exports no checkOptions; ask who wrote probe`,
  ]);
});

test('the order: as written, but where a manifest demands another one', (t) => {
  const one = pluginFolder(t, { manifest: { name: 'one' } });
  const two = pluginFolder(t, { manifest: { name: 'two', runs_before: ['one', 'dlp'] } });
  const { plugins } = load(
    'name: return-routing',
    `{ name: one, from: ${one}, enabled: false }`,
    `{ name: two, from: ${two} }`,
  );
  assert.deepEqual(
    plugins.map(({ name, enabled }) => `${name} ${enabled}`),
    ['two true', 'one false', 'return-routing true'],
  );
});

test('cycles and names that nobody has', (t) => {
  const one = pluginFolder(t, { manifest: { name: 'one', runs_before: ['two'] } });
  const two = pluginFolder(t, { manifest: { name: 'two', runs_before: ['one'] } });
  const three = pluginFolder(t, { manifest: { name: 'three', runs_after: ['return-routing', 'four'] } });
  assert.deepEqual(refusal(`{ name: one, from: ${one} }`, `{ name: two, from: ${two} }`), [
    `${EXAMPLE_FILE}:43:3: plugins: two has to run before one, and that before two: no order is right (plugins of the routing phase run behind the others); change runs_before or runs_after in a manifest of theirs, or leave one of them out`,
  ]);
  assert.deepEqual(refusal(`{ name: three, from: ${three} }`), [
    `${EXAMPLE_FILE}:43:3: plugins: return-routing has to run before three, and that before return-routing: no order is right (plugins of the routing phase run behind the others); change runs_before or runs_after in a manifest of theirs, or leave one of them out`,
    `${EXAMPLE_FILE}:43:13: plugins.three.name: ${three}/manifest.json says that it runs after four, which is no plugin of homeward's own and not configured; configure four, or take it out of runs_after`,
  ]);
});

test('refused before anything of it is loaded: code that others can change', (t) => {
  const check = 'throw new Error("loaded");';
  const folder = pluginFolder(t, { manifest: { check: './check.ts' }, files: { 'check.ts': check } });
  chmodSync(join(folder, 'check.ts'), 0o666);
  const path = join(folder, 'check.ts');
  assert.deepEqual(refusal(`{ name: probe, from: ${folder} }`), [
    `${EXAMPLE_FILE}:43:26: plugins.probe.from: its code would run with all rights, and others than root may write ${path} (mode 0666); do "chmod go-w ${path}"`,
  ]);
});
