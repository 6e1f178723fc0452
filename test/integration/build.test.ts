/**
 * The compiled build (`npm run build`), laid out as the package is, in a folder of its own: the command line answers,
 * and control and data plane run from it, in a namespace.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { ApiClient } from '../../src/api/client.ts';
import { statusSchema } from '../../src/api/schemas/gateway.ts';
import { labOptions } from '../support/lab/lab-test.ts';
import { NetworkNamespace } from '../support/network-namespace.ts';
import { eventually } from '../support/patience.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const CONFIG = `version: 1
gateway: { name: built }
sites:
  - { name: dc, prefixes: [10.0.2.0/24], tunnels: [ { name: dc-tun, type: device, device: dc-tun, driver: tun } ] }
flow_table: { max_flows: 1024 }
`;
const run = promisify(execFile);

describe('the build', labOptions(), () => {
  const directory = mkdtempSync(join(tmpdir(), 'homeward-build-'));
  const main = join(directory, 'dist/src/main.js');
  const configPath = join(directory, 'homeward.yaml');
  const runtimeDirectory = join(directory, 'run');
  const environment = {
    ...process.env,
    HOMEWARD_RUNTIME_DIR: runtimeDirectory,
    HOMEWARD_STATE_DIR: join(directory, 'state'),
    NO_COLOR: '1',
  };
  let namespace: NetworkNamespace;

  before(async () => {
    namespace = new NetworkNamespace();
    await run(join(ROOT, 'node_modules/.bin/tsc'), [
      ...['--project', join(ROOT, 'tsconfig.build.json'), '--outDir', join(directory, 'dist')],
    ]);
    for (const entry of ['package.json', 'plugins', 'build/homeward.node']) {
      const filter = (path: string): boolean => !path.endsWith('.ts');
      cpSync(join(ROOT, entry), join(directory, entry), { recursive: true, filter });
    }
    symlinkSync(join(ROOT, 'node_modules'), join(directory, 'node_modules'));
    writeFileSync(configPath, CONFIG);
  });

  after(async () => {
    await namespace?.endProcesses();
    await namespace?.attempt('env', [
      ...[`HOMEWARD_RUNTIME_DIR=${runtimeDirectory}`, process.execPath, main, 'down'],
    ]);
    await namespace?.remove();
    rmSync(directory, { recursive: true, force: true });
  });

  const homeward = async (...args: string[]): Promise<string> =>
    (await run(process.execPath, [main, ...args], { env: environment })).stdout;

  it('is what package.json names', () => {
    const { bin } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
      bin: { homeward: string };
    };
    assert.equal(join(directory, bin.homeward), main);
    assert.match(readFileSync(main, 'utf8'), /^#!\/usr\/bin\/env node\n/);
  });

  it('has a command line', async () => {
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
    assert.ok((await homeward('--version')).includes(version));
    assert.match(await homeward('--help'), /config {2,}Check, change and go back/);
    assert.match(await homeward('tunnels', 'list', '--help'), /EXAMPLES/);
    assert.match(await homeward('config', 'check', configPath), /is right/);
  });

  it('makes plugins whose tests pass, and runs them and the example', async () => {
    const folder = join(directory, 'mine');
    await homeward('plugins', 'create', 'mine', '--dir', folder);
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    const { stdout } = await run(process.execPath, ['--test'], { cwd: folder, env });
    assert.match(stdout, /pass 2\n/);
    const path = join(directory, 'plugins.yaml');
    const limiter = join(directory, 'plugins/examples/rate-limiter');
    const plugins = `[ { name: rate-limiter, from: ${limiter}, options: { rate: 5 } }, { name: mine, from: ${folder} } ]`;
    writeFileSync(path, `version: 1\nplugins: ${plugins}\n`);
    assert.match(await homeward('config', 'check', path), /is right/);
    writeFileSync(configPath, `${CONFIG}plugins: ${plugins}\n`);
  });

  it('runs the gateway, from no source file', async () => {
    const daemon = namespace.spawn(process.execPath, [main, 'run', '--config', configPath], environment);
    let output = '';
    for (const stream of [daemon.stdout, daemon.stderr]) stream.on('data', (part) => (output += part));
    const api = new ApiClient(join(runtimeDirectory, 'api.sock'), 5000);
    const status = await eventually('it forwards', async () => {
      if (daemon.exitCode !== null) throw new Error(output);
      const now = await api.status().then(
        (body) => statusSchema.parse(body),
        () => undefined,
      );
      return now?.dataPlane.state === 'forwarding' ? now : undefined;
    });
    assert.deepEqual(
      status.tunnels.map(({ name, state }) => [name, state]),
      [['dc-tun', 'up']],
    );
    const program = readFileSync(`/proc/${status.dataPlane.pid}/cmdline`, 'latin1').split('\0')[1];
    assert.equal(program, join(directory, 'dist/src/dataplane/main.js'));
    assert.match(await homeward('status'), /built/);
    assert.match(
      await homeward('plugins', 'list'),
      /^1 +rate-limiter +1\.0\.0 +policy +running +0\n2 +mine/m,
    );
    await homeward('down');
    await eventually('it has ended', () => daemon.exitCode !== null);
    assert.equal(daemon.exitCode, 0, output);
  });
});
