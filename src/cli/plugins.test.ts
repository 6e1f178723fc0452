/** Commands about plugins, and those that plugins declare: what they print, what they ask for. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { EXAMPLE_CONFIG, EXAMPLE_FILE } from '../../test/fixtures/example-gateway.ts';
import { EXAMPLE_STATUS } from '../../test/fixtures/example-status.ts';
import { homeward } from '../../test/support/command-line.ts';
import { pluginFolder } from '../../test/support/plugin-folder.ts';
import { stubControl } from '../../test/support/stub-control.ts';
import { serveApi } from '../api/server.ts';
import { parseConfig } from '../control/config/load.ts';
import type { ApiHandle, GatewayControl } from '../control/daemon.ts';
import { PluginService } from '../control/plugins/plugin-service.ts';
import { type Json, PluginQueryError } from '../plugin/contract.ts';
import { CONNECTION_FLAGS } from './connection.ts';

const directory = mkdtempSync(join(tmpdir(), 'homeward-cli-plugins-'));
const asked: unknown[] = [];
const edits: { text: string; reevaluate: boolean | undefined }[] = [];
const reloads: unknown[] = [];
let server: ApiHandle;

const APPLIED = {
  applied: true,
  revision: null,
  difference: {
    changes: [{ object: 'plugin', name: 'probe', change: 'changed', fields: [] }],
    lines: ['~ plugin probe: enabled true (default) -> false'],
    effect: null,
    refusal: null,
  },
  pending: null,
  notices: [],
  unapplied: null,
  reevaluated: null,
};

before(async () => {
  const folder = pluginFolder(
    { after },
    {
      manifest: {
        options: { type: 'object', properties: { rate: { type: 'integer', default: 7 } } },
        views: {
          verdict: {
            summary: 'What would become of a flow.',
            half: 'control',
            parameters: {
              type: 'object',
              additionalProperties: false,
              properties: {
                from_tunnel: { type: 'string' },
                port: { type: 'integer', maximum: 65535 },
                tag: { type: 'array', items: { type: 'string' } },
                loud: { type: 'boolean' },
              },
            },
          },
          table: { summary: 'All that it knows.', half: 'data' },
        },
        commands: {
          test: {
            summary: 'Say what would become of a flow.',
            view: 'verdict',
            flags: {
              'from-tunnel': { summary: 'Where it comes in.', type: 'string', required: true },
              port: { summary: 'Where it goes.', type: 'integer' },
              tag: { summary: 'A word.', type: 'string', multiple: true },
              loud: { summary: 'Say it loud.', type: 'boolean' },
            },
            examples: ['homeward probe test --from-tunnel paris-gre --port 443'],
          },
          table: { summary: 'Show all that it knows.', view: 'table' },
        },
      },
    },
  );
  const text = EXAMPLE_CONFIG.replace(
    '- name: return-routing',
    () => `- { name: probe, from: ${folder}, sites: [paris] }`,
  );
  const config = parseConfig(text, EXAMPLE_FILE);
  const plugins = new PluginService({
    config: () => config,
    statuses: async () => [
      ...EXAMPLE_STATUS.plugins,
      {
        ...EXAMPLE_STATUS.plugins[0]!,
        name: 'probe',
        state: 'tripped',
        tripped: { cause: 'exception', message: 'no idea' },
        failures: 2,
        calls: 1000,
        timeMs: 3,
        counters: { refused: 5 },
      },
    ],
    controlHalf: (name) =>
      name === 'probe'
        ? { state: 'running', failures: 1, lastFailure: 'no', counters: { asked: 4 } }
        : undefined,
    diversions: () => [],
    controlView: async (plugin, view, parameters) => {
      asked.push([plugin, view, parameters]);
      if ((parameters as { port?: Json }).port === 0) throw new PluginQueryError('port 0 is nobody');
      return { lines: ['refused:', '  by rule 3'] };
    },
    dataView: async (plugin, view) => {
      asked.push([plugin, view]);
      return { result: { entries: 2 } };
    },
  });
  const configuration = {
    edit: async (edit: (text: string) => string, { reevaluate }: { reevaluate?: boolean }) => {
      edits.push({ text: edit(text), reevaluate });
      return APPLIED;
    },
    reloadPlugin: async (name: string, request: object) => {
      reloads.push([name, request]);
      return { ...APPLIED, reevaluated: { flows: 12, ended: 3 } };
    },
  };
  const given = { plugins, configuration } as unknown as Partial<GatewayControl>;
  server = await serveApi(stubControl(given), {
    socketPath: join(directory, 'api.sock'),
    checkAnswers: true,
  });
});
after(async () => {
  await server.close();
  rmSync(directory, { recursive: true, force: true });
});

test('list and show', async () => {
  const list = await homeward(directory, 'plugins', 'list');
  assert.match(list.stdout, /^1 +probe +0\.\d+\.0 +policy +tripped +3$/m);
  assert.match(list.stdout, /^2 +return-routing +\S+ +routing +running +0$/m);
  const { stdout } = await homeward(directory, 'plugins', 'show', 'probe');
  assert.match(stdout, /^tripped +exception: no idea$/m);
  assert.match(stdout, /^for flows of +sites paris$/m);
  assert.match(stdout, /^option rate +7$/m);
  assert.match(stdout, /^on exception +drop-flow, \d+ times$/m);
  assert.match(stdout, /^calls +1000, 3\.00 us each$/m);
  assert.match(stdout, /^refused +5$/m);
  assert.match(stdout, /^asked +4$/m);
  assert.match(stdout, /^control half +running, 1 failures, the last: no$/m);
  assert.match(stdout, /^command +homeward probe test: Say what would become of a flow\.$/m);
});

test('disable and enable change the text, enable of an enabled one reads it anew', async () => {
  const disabled = await homeward(directory, 'plugins', 'disable', 'probe', '--reevaluate');
  assert.equal(disabled.status, 0, disabled.stderr);
  assert.match(disabled.stdout, /^~ plugin probe: enabled true \(default\) -> false$/m);
  assert.match(edits[0]!.text, /sites: \[ ?paris ?\], enabled: false \}/);
  assert.equal(edits[0]!.reevaluate, true);
  const enabled = await homeward(directory, 'plugins', 'enable', 'probe');
  assert.equal(enabled.status, 0, enabled.stderr);
  assert.equal(edits.length, 1);
  assert.equal((reloads.pop() as unknown[])[0], 'probe');
  const waiting = await homeward(directory, 'plugins', 'enable', 'probe', '--confirm', '10m');
  assert.equal(waiting.status, 1);
  assert.match(waiting.stderr, /probe is enabled already, so that there is nothing to go back to/);
  assert.deepEqual(reloads, []);
  const unknown = await homeward(directory, 'plugins', 'disable', 'nobody');
  assert.equal(unknown.status, 2);
  assert.match(unknown.stderr, /no plugin nobody stands in the configuration/);
});

test('reload', async () => {
  const { stdout } = await homeward(directory, 'plugins', 'reload', 'probe', '--reevaluate');
  assert.equal(stdout, 'probe runs as its files are now.\n12 live flows judged anew, 3 of them ended.\n');
  assert.deepEqual(reloads.pop(), ['probe', { reevaluate: true, validateOnly: false }]);
});

test('create', async () => {
  const folder = join(directory, 'made');
  const made = await homeward(directory, 'plugins', 'create', 'mine', '--dir', folder);
  assert.equal(made.status, 0, made.stderr);
  assert.match(made.stdout, /plugins: \[ \{ name: mine, from: .*\/made \} \]/);
  const again = await homeward(directory, 'plugins', 'create', 'mine', '--dir', folder);
  assert.deepEqual([again.status, again.stdout], [2, '']);
  assert.match(again.stderr, /made is not empty; name a folder that is not there yet/);
});

test('a command that a plugin declares', async () => {
  const { status, stdout, stderr } = await homeward(
    directory,
    ...['probe', 'test', '--from-tunnel', 'paris-gre', '--port', '443', '--tag', 'a', '--tag', 'b', '--loud'],
  );
  assert.deepEqual([status, stdout, stderr], [0, 'refused:\n  by rule 3\n', '']);
  const parameters = { from_tunnel: 'paris-gre', port: 443, tag: ['a', 'b'], loud: true };
  assert.deepEqual(asked.pop(), ['probe', 'verdict', parameters]);
  const table = await homeward(directory, 'probe', 'table', '--json');
  assert.deepEqual(JSON.parse(table.stdout), { entries: 2 });
  const help = await homeward(directory, 'probe', 'test', '--help');
  assert.match(help.stdout, /--from-tunnel=TEXT +\(required\) Where it comes in\./);
  assert.match(help.stdout, /\$ homeward probe test --from-tunnel paris-gre --port 443/);
});

test('a command that a plugin declares: what is wrong', async () => {
  const cases: [args: string[], status: number, message: RegExp][] = [
    [['probe', 'test'], 2, /^Missing required flag from-tunnel; see "homeward probe test --help"$/m],
    [['probe', 'test', '--from-tunnel', 'a', '--port', '0'], 2, /^port 0 is nobody$/m],
    [
      ['probe', 'test', '--from-tunnel', 'a', '--port', '70000'],
      2,
      /^port: 70000 is out of range; write at most 65535$/m,
    ],
    [['probe', 'guess'], 2, /^probe guess is not a command; /m],
    [['nobody', 'test'], 2, /^nobody test is not a command; /m],
  ];
  for (const [args, status, message] of cases) {
    const result = await homeward(directory, ...args);
    assert.equal(result.status, status, `${args.join(' ')}: ${result.stderr}`);
    assert.match(result.stderr, message);
  }
});

test('no declared flag can take the place of one that all commands have', (t) => {
  for (const flag of [...Object.keys(CONNECTION_FLAGS), 'json', 'help']) {
    const folder = pluginFolder(t, {
      manifest: {
        views: { all: { summary: 'All.', half: 'data' } },
        commands: { all: { summary: 'All.', view: 'all', flags: { [flag]: { summary: 'Mine.' } } } },
      },
    });
    const text = `version: 1\nplugins: [ { name: probe, from: ${folder} } ]\n`;
    assert.throws(
      () => parseConfig(text, EXAMPLE_FILE),
      /is a flag of all commands; choose another name/,
      flag,
    );
  }
});
