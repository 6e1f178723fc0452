/**
 * Another configuration for a gateway that runs, where the data plane does not want it: the former one runs on, and the
 * host is as it was. With a stub as data plane, which refuses and crashes on demand, in a namespace of its own.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { inOwnNamespace } from '../../test/support/own-namespace.ts';
import { eventually } from '../../test/support/patience.ts';
import type { Config } from './config/config.ts';
import { parseConfig } from './config/load.ts';
import { Gateway } from './gateway.ts';
import { createLogger } from './runtime/logger.ts';
import { openRuntimeDirectory, type RuntimeDirectory } from './runtime/runtime-directory.ts';

const STUB = join(import.meta.dirname, '../../test/fixtures/stub-data-plane.ts');

/** `tunnels`: name and site of each; each has a TUN device of its name. */
function config(gateway: string, tunnels: Readonly<Record<string, string>>, maxFlows = 4096): Config {
  const sites = [...new Set(Object.values(tunnels))].map((site) => {
    const own = Object.keys(tunnels).filter((name) => tunnels[name] === site);
    const entries = own.map((name) => `{ name: ${name}, type: device, device: ${name}, driver: tun }`);
    return `{ name: ${site}, tunnels: [ ${entries.join(', ')} ] }`;
  });
  return parseConfig(
    `version: 1\ngateway: { name: ${gateway} }\nsites: [ ${sites.join(', ')} ]\nflow_table: { max_flows: ${maxFlows} }\n`,
    'test.yaml',
  );
}

const GOOD = config('good', { 'paris-a': 'paris', 'lyon-a': 'lyon' });

class Bench {
  readonly runtime: RuntimeDirectory;
  readonly gateway: Gateway;

  private constructor(runtime: RuntimeDirectory, gateway: Gateway) {
    this.runtime = runtime;
    this.gateway = gateway;
  }

  static async start(t: TestContext): Promise<Bench> {
    const directory = mkdtempSync(join(tmpdir(), 'homeward-gateway-'));
    const runtime = openRuntimeDirectory({ HOMEWARD_RUNTIME_DIR: directory });
    const logger = createLogger({ level: 'silent' });
    const gateway = await Gateway.start('test.yaml', GOOD, runtime, logger, { supervisor: { main: STUB } });
    t.after(async () => {
      await gateway.down();
      rmSync(directory, { recursive: true, force: true });
    });
    return new Bench(runtime, gateway);
  }

  /** Devices, guard and numbers: what a configuration has done to the host. */
  picture(): string {
    const links = JSON.parse(execFileSync('ip', ['-json', 'link'], { encoding: 'utf8' })) as {
      ifname: string;
    }[];
    return [
      links.map(({ ifname }) => ifname).sort(),
      execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' }),
      readFileSync(this.runtime.identitiesPath, 'utf8'),
    ].join('\n');
  }

  async tunnels(): Promise<string[]> {
    return (await this.gateway.status()).tunnels.map(({ name, site }) => `${site}/${name}`);
  }
}

if (inOwnNamespace(import.meta.url)) {
  it('a plan that the data plane refuses leaves everything as it was', async (t) => {
    const bench = await Bench.start(t);
    const before = bench.picture();
    const { planGeneration } = await bench.gateway.status();
    // One tunnel moves, so that it would be another one; one is new.
    const refused = config('refuse', { 'paris-a': 'lyon', 'lyon-a': 'lyon', 'nice-a': 'nice' });
    await assert.rejects(bench.gateway.apply(refused), { code: 'plan_refused' });
    assert.equal(bench.picture(), before);
    assert.equal(bench.gateway.config, GOOD);
    assert.deepEqual(await bench.tunnels(), ['paris/paris-a', 'lyon/lyon-a']);
    assert.equal((await bench.gateway.status()).planGeneration, planGeneration);

    const effect = await bench.gateway.apply(
      config('good', { 'paris-a': 'lyon', 'lyon-a': 'lyon', 'nice-a': 'nice' }),
    );
    assert.deepEqual(
      effect.flows.map(({ port, flows }) => [port, flows]),
      [['paris-a', 'end']],
    );
    assert.deepEqual(await bench.tunnels(), ['lyon/paris-a', 'lyon/lyon-a', 'nice/nice-a']);
  });

  it('a plan that ends the data plane is not given to the next one', async (t) => {
    const bench = await Bench.start(t);
    const { dataPlane } = await bench.gateway.status();
    await assert.rejects(bench.gateway.apply(config('crash', { 'paris-a': 'paris', 'nice-a': 'nice' })), {
      code: 'data_plane_gone',
    });
    const after = await eventually('another one runs the former plan', async () => {
      const status = await bench.gateway.status();
      return status.dataPlane.state === 'forwarding' && status.dataPlane.pid !== dataPlane.pid
        ? status
        : undefined;
    });
    assert.equal(after.dataPlane.restarts, 1);
    assert.equal(bench.gateway.config, GOOD);
    assert.deepEqual(await bench.tunnels(), ['paris/paris-a', 'lyon/lyon-a']);
  });

  it('a preview changes nothing, and says whose flows would end', async (t) => {
    const bench = await Bench.start(t);
    const before = bench.picture();
    const effect = await bench.gateway.preview(config('good', { 'paris-a': 'nice' }, 8192));
    assert.deepEqual(effect, {
      flows: [
        { port: 'paris-a', flows: 'end', why: 'its site, its type or its endpoints change' },
        { port: 'lyon-a', flows: 'end', why: 'it is removed' },
      ],
      restartsDataPlane: true,
    });
    assert.equal(bench.picture(), before);
  });

  it('another size of the flow memory takes another data plane, and back if that refuses', async (t) => {
    const bench = await Bench.start(t);
    const pid = async (): Promise<number> => (await bench.gateway.status()).dataPlane.pid!;
    const first = await pid();
    await bench.gateway.apply(config('good', { 'paris-a': 'paris', 'lyon-a': 'lyon' }, 8192));
    const second = await pid();
    assert.notEqual(second, first);
    const refused = config('refuse', { 'paris-a': 'paris', 'lyon-a': 'lyon' }, 2048);
    await assert.rejects(bench.gateway.apply(refused), { code: 'plan_refused' });
    const { dataPlane, flows } = await bench.gateway.status();
    assert.deepEqual([dataPlane.state, flows?.max], ['forwarding', 8192]);
  });

  it('names every option that needs a new start', async (t) => {
    const bench = await Bench.start(t);
    const moved = parseConfig(
      'version: 1\ngateway: { state_dir: /elsewhere }\napi: { socket: /elsewhere.sock }\n',
      'moved.yaml',
    );
    await assert.rejects(bench.gateway.apply(moved), (error: Error) => {
      assert.match(
        error.message,
        /^moved\.yaml:2:23: gateway\.state_dir: cannot be changed while homeward runs; /,
      );
      assert.match(error.message, /^moved\.yaml:3:16: api\.socket: cannot be changed while homeward runs; /m);
      return true;
    });
  });
}
