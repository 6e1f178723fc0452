/** Configurations changed by the command line while the gateway runs: real processes, real files. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { applyConfig, confirmConfig, rollbackConfig } from '../../src/api/client/config.ts';
import { DaemonHost, CONFIG as HOST_CONFIG } from '../support/daemon-host.ts';
import { eventually } from '../support/patience.ts';

const MAIN = join(import.meta.dirname, '../../src/main.ts');

const CONFIG = `${HOST_CONFIG}routes: [ { prefix: 0.0.0.0/0, via: internet } ]\n`;

class Gateway {
  readonly host: DaemonHost;

  constructor(t: TestContext) {
    this.host = new DaemonHost(t);
    writeFileSync(this.host.configPath, CONFIG);
  }

  get file(): string {
    return readFileSync(this.host.configPath, 'utf8');
  }

  /** A command line of homeward. */
  async command(...args: string[]): Promise<{ status: number | null; stdout: string; stderr: string }> {
    const { HOMEWARD_RUNTIME_DIR } = this.host.environment;
    return this.host.namespace.attempt('env', [
      `HOMEWARD_RUNTIME_DIR=${HOMEWARD_RUNTIME_DIR}`,
      'SUDO_USER=ann',
      'SSH_CONNECTION=203.0.113.7 4711 192.0.2.1 22',
      process.execPath,
      MAIN,
      ...args,
    ]);
  }

  /** A command that must succeed; its output. */
  async done(...args: string[]): Promise<string> {
    const { status, stdout, stderr } = await this.command(...args);
    assert.equal(status, 0, `${args.join(' ')}: ${stdout}${stderr}`);
    return stdout;
  }

  /** Applies a text, from a file that is not the gateway's. */
  async apply(text: string, ...flags: string[]): Promise<string> {
    const path = join(this.host.directory, 'new.yaml');
    writeFileSync(path, text);
    return this.done('config', 'apply', path, ...flags);
  }

  /** Once next hops have answered. */
  async tunnels(): Promise<string[]> {
    return await eventually('next hops have answered', async () => {
      const { tunnels } = await this.host.status();
      if (tunnels.some(({ state }) => state === 'connecting')) return undefined;
      return tunnels.map(({ name, state }) => `${name} ${state}`);
    });
  }
}

const WITH_GRE = CONFIG.replace(
  '      - { name: lyon-gre,',
  '      - { name: lyon-two, type: gre, local: 192.0.2.1, remote: 192.0.2.7 }   # the second\n      - { name: lyon-gre,',
);

test('applied, compared, rolled back: live, in the file and in the history', async (t) => {
  const gateway = new Gateway(t);
  const { host } = gateway;
  host.answer();
  const daemon = host.start();
  const { dataPlane } = await host.forwarding();

  const dry = await gateway.apply(WITH_GRE, '--dry-run');
  assert.equal(
    dry,
    '+ tunnel lyon-two: site lyon, type gre, local 192.0.2.1, remote 192.0.2.7\nNothing was changed.\n',
  );
  const told = JSON.parse(await gateway.apply(WITH_GRE, '--dry-run', '--json'));
  assert.deepEqual([told.applied, told.revision, told.pending], [false, null, null]);
  assert.deepEqual(told.difference.effect, { flows: [], restartsDataPlane: false });
  assert.equal(gateway.file, CONFIG);
  const applied = await gateway.apply(WITH_GRE, '--comment', 'more room');
  assert.match(applied, /^\+ tunnel lyon-two: .*\nRevision 2 runs\.\n$/);
  assert.deepEqual(await gateway.tunnels(), ['lyon-ic up', 'lyon-two up', 'lyon-gre up', 'dc-tun up']);
  assert.equal(gateway.file, WITH_GRE);
  assert.match(
    await gateway.done('config', 'history'),
    /2 .*applied +ann \(sudo, from 203\.0\.113\.7\) +\+ tunnel lyon-two.* more room/,
  );

  const wrong = WITH_GRE.replace('remote: 192.0.2.7', 'remote: 192.0.2.0.7').replace('tun-dc', 'up0');
  const path = join(host.directory, 'wrong.yaml');
  writeFileSync(path, wrong);
  const refused = await gateway.command('config', 'apply', path);
  assert.equal(refused.status, 2);
  assert.match(
    refused.stderr,
    /^.*wrong\.yaml:\d+:\d+: sites\.lyon\.tunnels\.lyon-two\.remote: 192\.0\.2\.0\.7 is not an IP address/,
  );
  assert.equal(gateway.file, WITH_GRE);

  // A tunnel that was edited is another one; what is removed and disabled goes.
  const edited = WITH_GRE.replace('remote: 192.0.2.7', 'remote: 192.0.2.8').replace(
    'device: tun-dc, driver: tun',
    'device: tun-dc, driver: tun, enabled: false',
  );
  const changed = await gateway.apply(edited);
  assert.match(changed, /^Flows of lyon-two end: its site, its type or its endpoints change\.$/m);
  assert.match(changed, /^Flows of dc-tun wait: it is disabled\.$/m);
  assert.deepEqual(await gateway.tunnels(), ['lyon-ic up', 'lyon-two up', 'lyon-gre up', 'dc-tun disabled']);
  assert.equal(
    await gateway.done('config', 'diff', '--from', '1', '--to', '3'),
    '+ tunnel lyon-two: site lyon, type gre, local 192.0.2.1, remote 192.0.2.8\n~ tunnel dc-tun: enabled true (default) -> false\n',
  );

  await gateway.done('config', 'rollback', '1');
  assert.deepEqual(await gateway.tunnels(), ['lyon-ic up', 'lyon-gre up', 'dc-tun up']);
  assert.deepEqual([gateway.file, await gateway.done('config', 'show')], [CONFIG, CONFIG]);
  assert.equal((await host.status()).dataPlane.pid, dataPlane.pid, 'one data plane all the time');

  // What cannot be changed live is refused by name.
  const moved = await gateway.command(
    'config',
    'apply',
    writeTo(host, `${CONFIG}api: { socket: /tmp/x.sock }\n`),
  );
  assert.equal(moved.status, 2);
  assert.match(moved.stderr, /api\.socket: cannot be changed while homeward runs/);
  assert.equal(await host.end(daemon, 'SIGINT'), 0);
});

test('another size of the flow table takes another data plane', async (t) => {
  const { host } = new Gateway(t);
  const daemon = host.start();
  const before = await host.forwarding();
  const text = CONFIG.replace('max_flows: 4096', 'max_flows: 8192');
  const { difference } = await applyConfig(host.api, { text });
  assert.equal(difference.effect?.restartsDataPlane, true);
  const after = await host.forwarding();
  assert.notEqual(after.dataPlane.pid, before.dataPlane.pid);
  assert.deepEqual([after.flows?.max, after.dataPlane.restarts], [8192, 0]);
  assert.equal(await host.end(daemon, 'SIGINT'), 0);
});

test('what nobody confirms goes back: by itself, and after control was killed', async (t) => {
  const gateway = new Gateway(t);
  const { host } = gateway;
  const first = host.start();
  await host.forwarding();
  const told = await gateway.apply(WITH_GRE, '--confirm', '2s');
  assert.match(told, /Revision 2 waits for its confirmation: in [12]s revision 1 runs again\./);
  await eventually('it is back', () => gateway.file === CONFIG);
  assert.equal((await gateway.tunnels()).length, 3);

  await applyConfig(host.api, { text: WITH_GRE, confirmMs: 1000 });
  await host.end(first, 'SIGKILL');
  assert.equal(gateway.file, WITH_GRE);
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const second = host.start();
  await host.forwarding();
  assert.deepEqual([gateway.file, (await gateway.tunnels()).length], [CONFIG, 3]);

  await applyConfig(host.api, { text: WITH_GRE, confirmMs: 60_000 });
  await host.end(second, 'SIGKILL');
  const third = host.start();
  const { notices } = await host.forwarding();
  assert.match(notices[0]!, /^revision 6 of the configuration waits for its confirmation/);
  assert.equal((await confirmConfig(host.api)).number, 6);
  await assert.rejects(confirmConfig(host.api), { status: 409 });
  assert.equal(await host.end(third, 'SIGINT'), 0);
});

test('a start with a broken file runs the last good revision', async (t) => {
  const gateway = new Gateway(t);
  const { host } = gateway;
  const first = host.start();
  await host.forwarding();
  await applyConfig(host.api, { text: WITH_GRE });
  assert.equal(await host.end(first, 'SIGTERM'), 0);
  writeFileSync(host.configPath, `${WITH_GRE}nonsense: 1\n`);
  assert.equal((await gateway.command('run', '--config', host.configPath, '--strict')).status, 2);
  const second = host.start();
  const { problems, tunnels } = await host.forwarding();
  assert.match(problems[0]!, /homeward\.yaml is broken: revision 2 of .* runs instead/);
  assert.equal(tunnels.length, 4);
  assert.match((await gateway.command('config', 'show')).stderr, /has another text, which does not run/);
  await rollbackConfig(host.api, { revision: 2 });
  assert.deepEqual([(await host.status()).problems, gateway.file], [[], WITH_GRE]);
  assert.equal(await host.end(second, 'SIGINT'), 0);
});

function writeTo(host: DaemonHost, text: string): string {
  const path = join(host.directory, 'other.yaml');
  writeFileSync(path, text);
  return path;
}
