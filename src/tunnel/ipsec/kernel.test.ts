/** The xfrm driver and a daemon of the host's: it gets ours, loses ours, and keeps what is its own. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { EXAMPLE_IPSEC_TUNNEL } from '../../../test/fixtures/example-ipsec-tunnel.ts';
import { Charon, charonObstacle } from '../../../test/support/charon.ts';
import { NetworkNamespace } from '../../../test/support/network-namespace.ts';
import { eventually } from '../../../test/support/patience.ts';
import { ALGORITHMS, CONFIRM, packet, response, ViciServer } from '../../../test/support/vici-server.ts';
import { ViciClient } from '../../vici/client.ts';
import type { DrivenTunnel } from './driver.ts';
import type { RunTool } from './host-tools.ts';
import { KernelDriver, removeKernelLeftovers } from './kernel.ts';

const run: RunTool = async () => '';
const log = (): void => {};

function driven(name: string, key = name, id = 0x68000007): DrivenTunnel {
  const kernel = { requestId: id, interfaceId: id };
  const tunnel = { ...EXAMPLE_IPSEC_TUNNEL, name, remoteId: `${key}.example`, kernel };
  const path = { device: 'up0', mtu: 1500, local: '192.0.2.1', remote: '192.0.2.2', nextHop: '192.0.2.2' };
  return { key, tunnel, credentials: () => ({ kind: 'psk', secret: Buffer.from('secret') }), path };
}

const skip = charonObstacle();
describe('the xfrm driver with a daemon of the host', skip === undefined ? {} : { skip }, () => {
  let namespace: NetworkNamespace;
  let charon: Charon;
  let host: ViciClient;
  let driver: KernelDriver;

  async function loaded(): Promise<string[]> {
    return (await host.connections()).map(({ name }) => name).sort();
  }

  function asText(_: string, value: unknown): unknown {
    if (value instanceof Map) return Object.fromEntries(value);
    return value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : value;
  }

  async function has(...names: readonly string[]): Promise<void> {
    await eventually(`the daemon has ${names.join(', ')}`, async () => {
      return host.state === 'up' && (await loaded()).join() === names.join();
    });
  }

  async function loadForeign(name: string): Promise<void> {
    await host.request('load-conn', {
      [name]: { local: { auth: 'psk' }, remote: { auth: 'psk' }, children: { net: { mode: 'tunnel' } } },
    });
    await host.request('load-shared', { id: name, type: 'IKE', data: 'secret', owners: [name] });
  }

  before(async () => {
    namespace = new NetworkNamespace();
    charon = new Charon(namespace);
    await charon.start();
    host = new ViciClient({ socketPath: charon.socketPath });
    host.start();
    await eventually('the client is up', () => host.state === 'up');
    await loadForeign('office');
    driver = new KernelDriver({
      directory: charon.directory,
      instance: 'test',
      daemonSocket: charon.socketPath,
      run,
      log,
      onState: () => {},
    });
  });
  after(async () => {
    await driver?.stop();
    host?.stop();
    await charon?.remove();
    await namespace?.remove();
  });

  it('loads tunnels beside what is there, and unloads those that are gone', async () => {
    await driver.apply([driven('paris'), driven('lyon')]);
    await has('homeward-lyon', 'homeward-paris', 'office');
    assert.equal(driver.status('paris')?.state, 'configured');
    const [child] = (await host.connections()).find(({ name }) => name === 'homeward-paris')!.children;
    assert.equal(child!.mode, 'TUNNEL');
    await driver.apply([driven('paris')]);
    assert.deepEqual(await loaded(), ['homeward-paris', 'office']);
    assert.equal(driver.status('lyon'), undefined);
  });

  it('exchanges one that has become another', async () => {
    await driver.apply([driven('paris', 'nice')]);
    await has('homeward-paris', 'office');
    const listed = await host.stream('list-conns', 'list-conn', { ike: 'homeward-paris' });
    assert.match(JSON.stringify(listed, asText), /nice\.example/);
  });

  it('says when nobody answers, and loads all again when somebody does', async () => {
    await charon.kill();
    await eventually('that is said', () =>
      driver.status('paris')?.reason?.startsWith('no IKE daemon answers at'),
    );
    await charon.start();
    await has('homeward-paris');
    await loadForeign('office');
  });

  it('takes away what a killed process has left', async () => {
    await driver.stop();
    await loadForeign('homeward-old');
    await removeKernelLeftovers({ run, log }, charon.socketPath);
    assert.deepEqual(await loaded(), ['office']);
    await driver.apply([driven('paris')]);
    await has('homeward-paris', 'office');
  });

  it('leaves what is not ours', async () => {
    await driver.stop();
    assert.deepEqual(await loaded(), ['office']);
    const keys = await host.request('get-shared');
    assert.deepEqual(
      (keys.get('keys') as readonly Uint8Array[]).map((id) => Buffer.from(id).toString()),
      ['office'],
    );
  });
});

it('takes a tunnel with other ids in the kernel for another tunnel', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'homeward-kernel-'));
  const socketPath = join(directory, 'vici');
  const commands: string[] = [];
  const server = new ViciServer((socket, type, name) => {
    if (type === 0) commands.push(name);
    socket.write(type === 0 ? response({ success: 'yes', ...ALGORITHMS }) : packet(CONFIRM));
  });
  await server.listen(socketPath);
  const driver = new KernelDriver({
    directory,
    instance: 'test',
    daemonSocket: socketPath,
    run,
    log,
    onState: () => {},
  });
  const loads = (): number => commands.filter((name) => name === 'load-conn').length;
  try {
    await driver.apply([driven('paris')]);
    await eventually('it is loaded', () => driver.status('paris')?.reason?.startsWith('waits'));
    await driver.apply([driven('paris')]);
    await driver.apply([driven('paris', 'paris', 0x68000008)]);
    await eventually('it is loaded anew', () => loads() === 2);
    const changes = commands.filter((name) => /load-conn|terminate/.test(name));
    assert.deepEqual(changes, ['load-conn', 'unload-conn', 'terminate', 'load-conn']);
  } finally {
    await driver.stop();
    server.close();
    rmSync(directory, { recursive: true, force: true });
  }
});
