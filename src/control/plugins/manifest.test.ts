/** Manifests: what is wrong with one is told by line and path. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { pluginFolder, writePlugin } from '../../../test/support/plugin-folder.ts';
import { ConfigError } from '../config/errors.ts';
import { readManifest } from './manifest.ts';

test('the simplest manifest gets its defaults', (t) => {
  const manifest = readManifest(join(pluginFolder(t), 'manifest.json'));
  assert.equal(manifest.name, 'probe');
  assert.deepEqual(manifest.failure_policy, {});
  assert.equal(manifest.flow_state_bytes, 0);
});

const CASES: readonly (readonly [
  what: string,
  manifest: Record<string, unknown>,
  lines: readonly string[],
])[] = [
  ['a missing version of the contract', { homeward: undefined }, ['1:1: homeward: is missing; write 1']],
  [
    'a later contract',
    { homeward: 2 },
    ['4:15: homeward: 2 is not a version of the plugin contract that this homeward speaks; write 1'],
  ],
  [
    'a name that no path could have',
    { name: 'Fire Wall' },
    [
      '2:11: name: "Fire Wall" is not a name of a plugin; write lower-case letters, digits and - (a letter first), at most 31 characters',
    ],
  ],
  [
    'diversions that nobody could use',
    {
      diversions: [{ name: 'http', tcp: 8080 }, { name: 'http', udp: 1 }, { name: 'nothing' }],
    },
    [
      '10:17: diversions: need a control half, which runs the proxy; write its module as control',
      '16:15: diversions.http.name: http stands here twice; give each diversion a name of its own',
      '19:5: diversions.nothing: takes nothing; write the port that its proxy listens on, tcp, udp or both',
    ],
  ],
  [
    'a version',
    { version: '1' },
    ['3:14: version: 1 is not a version; write one such as 1.4.0 (https://semver.org)'],
  ],
  [
    'an unknown hook',
    { hooks: ['flowSetup', 'paket'] },
    [
      '9:5: hooks[1]: paket is not known here; write one of flowSetup, flowStart, packet, stream, ingressChanged, flowEnd',
    ],
  ],
  [
    'a misspelt key',
    { falure_policy: {} },
    ['10:3: falure_policy is not a known key; did you mean failure_policy?'],
  ],
  [
    'an unknown action',
    { failure_policy: { exception: 'open' } },
    [
      '11:18: failure_policy.exception: open is not known here; write one of drop-packet, drop-flow, reject, pass-packet, pass-flow',
    ],
  ],
  [
    'an unknown cause',
    { failure_policy: { crash: 'reject' } },
    [
      '11:5: failure_policy: crash is not a known key; the keys here are exception, timeout, memory, midstream, unparsable',
    ],
  ],
  ['itself', { runs_after: ['probe'] }, ['11:5: runs_after[0]: probe is the plugin itself; leave it out']],
  ['odd state', { flow_state_bytes: 6 }, ['10:23: flow_state_bytes: 6 is not a multiple of 4; write 8']],
  [
    'too much state',
    { flow_state_bytes: 128 },
    ['10:23: flow_state_bytes: 128 is not a whole number from 0 to 64; write one'],
  ],
  [
    'a module outside',
    { check: '../check.ts' },
    ["10:12: check: ../check.ts lies outside the plugin's folder; write a path inside it"],
  ],
  [
    'a schema that is none',
    { options: { type: 'objekt' } },
    [
      '10:14: options: is no usable JSON Schema (schema is invalid: data/type must be equal to one of the allowed values, data/type must be array, data/type must match a schema in anyOf); write one of the draft 2020-12',
    ],
  ],
  [
    'a command without its view',
    {
      views: { table: { summary: 'All.', half: 'data' } },
      commands: { show: { summary: 'Shows.', view: 'tables' } },
    },
    ['19:15: commands.show.view: tables is not a view of this plugin; write one of table'],
  ],
];

for (const [what, manifest, lines] of CASES) {
  test(`refused: ${what}`, (t) => {
    const file = join(pluginFolder(t, { manifest }), 'manifest.json');
    assert.throws(
      () => readManifest(file),
      (error) => {
        assert.ok(error instanceof ConfigError, String(error));
        assert.deepEqual(
          error.message.split('\n'),
          lines.map((line) => `${file}:${line}`),
        );
        return true;
      },
    );
  });
}

test('refused: a module that is not there', (t) => {
  const folder = pluginFolder(t, { manifest: { control: './control.ts' } });
  assert.throws(() => readManifest(join(folder, 'manifest.json')), {
    message: `${folder}/manifest.json:10:14: control: there is no file ./control.ts in ${folder}; write the path of the module`,
  });
});

test('refused: TypeScript in a package', (t) => {
  const folder = join(pluginFolder(t), 'node_modules/probe');
  writePlugin(folder, { files: { 'data.ts': '' } });
  assert.throws(() => readManifest(join(folder, 'manifest.json')), {
    message: `${folder}/manifest.json:5:11: data: Node runs no TypeScript below node_modules (${folder}/data.ts); compile it, and write the path of the .js file`,
  });
});

test('refused: what is not JSON, and what cannot be read', (t) => {
  const file = join(pluginFolder(t), 'manifest.json');
  writeFileSync(file, '{ name: probe }');
  assert.throws(() => readManifest(file), /manifest\.json:1:1: is not JSON: .*; write a JSON object/);
  assert.throws(() => readManifest(join(file, '..')), /cannot be read/);
});

test('a manifest with tabs is read all the same', (t) => {
  const file = join(pluginFolder(t), 'manifest.json');
  writeFileSync(file, '{\n\t"name": "probe",\n\t"version":\t1\n}\n');
  assert.throws(() => readManifest(file), /version: 1 is not a version/);
});
