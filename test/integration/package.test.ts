/**
 * The package as npm packs it: it has all that its installation needs, builds its native part where it is unpacked, and
 * runs from there.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';

const ROOT = resolve(import.meta.dirname, '../..');
const LEFT_OUT = ['node_modules', '.git', 'build', 'dist', 'test'];
const CONFIG = `version: 1
gateway: { name: packed }
sites:
  - { name: dc, prefixes: [10.0.2.0/24], tunnels: [ { name: dc-tun, type: device, device: dc-tun, driver: tun } ] }
flow_table: { max_flows: 1024 }
`;
const run = promisify(execFile);

describe('the package', () => {
  const directory = mkdtempSync(join(tmpdir(), 'homeward-package-'));
  const checkout = join(directory, 'checkout');
  const unpacked = join(directory, 'package');
  const main = join(unpacked, 'dist/src/main.js');
  const node = (...args: string[]) => run(process.execPath, args, { cwd: directory });

  before(async () => {
    // What packing makes must not come between those who use the checkout.
    cpSync(ROOT, checkout, {
      recursive: true,
      filter: (path) => !LEFT_OUT.includes(relative(ROOT, path).split('/')[0]!),
    });
    symlinkSync(join(ROOT, 'node_modules'), join(checkout, 'node_modules'));
    await run('npm', ['run', 'prepack'], { cwd: checkout });
    const { stdout } = await run(
      'npm',
      ['pack', '--ignore-scripts', '--json', '--pack-destination', directory],
      {
        cwd: checkout,
        maxBuffer: 2 ** 26,
      },
    );
    const [{ filename }] = JSON.parse(stdout) as [{ filename: string }];
    mkdirSync(unpacked);
    await run('tar', ['-xzf', join(directory, filename), '--strip-components=1', '-C', unpacked]);
    // Its dependencies, as an installation puts them beside.
    symlinkSync(join(ROOT, 'node_modules'), join(directory, 'node_modules'));
  });

  after(() => rmSync(directory, { recursive: true, force: true }));

  it('has no sources but those of the native part, and the units', () => {
    assert.ok(!existsSync(join(unpacked, 'src/main.ts')));
    assert.ok(existsSync(join(unpacked, 'appliance/systemd/homeward.service')));
    assert.ok(existsSync(join(unpacked, 'docs/systemd.md')));
  });

  it('builds its native part by the script that npm runs, and loads it', async () => {
    await run('npm', ['run', 'install'], { cwd: unpacked });
    assert.ok(existsSync(join(unpacked, 'build/homeward.node')));
    const module = pathToFileURL(join(unpacked, 'dist/src/device/native.js')).href;
    const script = `import { native } from '${module}'; console.log(native().rxAreaBytes(1, 65536) > 0)`;
    assert.equal((await node('--input-type=module', '--eval', script)).stdout, 'true\n');
  });

  it('answers, and checks a configuration', async () => {
    assert.match((await node(main, '--version')).stdout, /^homeward\/\d/);
    const path = join(directory, 'homeward.yaml');
    writeFileSync(path, CONFIG);
    assert.match(
      (await node(main, 'config', 'check', path)).stdout,
      /is right: 1 site, 1 tunnel, 0 egresses/,
    );
  });
});
