/** The client against a real charon: what it answers, and what happens when it is killed and comes back. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { Charon, charonObstacle } from '../../test/support/charon.ts';
import { NetworkNamespace } from '../../test/support/network-namespace.ts';
import { eventually } from '../../test/support/patience.ts';
import { ViciClient } from './client.ts';
import { ViciError } from './errors.ts';

const CONNECTION = {
  version: 2,
  local_addrs: ['192.0.2.1'],
  remote_addrs: ['192.0.2.2'],
  local: { auth: 'psk', id: 'gw1.example' },
  remote: { auth: 'psk', id: 'paris.example' },
  children: { net: { local_ts: ['0.0.0.0/0'], remote_ts: ['0.0.0.0/0'], if_id_in: 7, if_id_out: 7 } },
};

const skip = charonObstacle();
describe('a VICI client and charon', skip === undefined ? {} : { skip }, () => {
  let namespace: NetworkNamespace;
  let charon: Charon;

  before(async () => {
    namespace = new NetworkNamespace();
    // A peer that never answers.
    namespace.ip(
      'link add wire type veth peer name end',
      'address add 192.0.2.1/24 dev wire',
      'link set wire up',
      'link set end up',
      'neighbour add 192.0.2.2 lladdr 02:00:00:00:00:02 dev wire',
    );
    charon = new Charon(namespace);
    await charon.start();
  });
  after(async () => {
    await charon?.remove();
    await namespace?.remove();
  });

  async function withClient(use: (client: ViciClient) => Promise<void>, options = {}): Promise<void> {
    const client = new ViciClient({ socketPath: charon.socketPath, ...options });
    client.start();
    try {
      await eventually('the client is up', () => client.state === 'up');
      await use(client);
    } finally {
      client.stop();
    }
  }

  it('says so when the daemon hangs, and not when it refuses', () =>
    withClient(async (client) => {
      let silences = 0;
      client.on('silent', () => silences++);
      const ask = (): Promise<unknown> => client.request('version', {}, { timeoutMs: 200 }).catch(() => {});
      charon.signal('SIGSTOP');
      try {
        await ask();
        assert.equal(silences, 0);
        await ask();
        assert.equal(silences, 1);
        await ask();
      } finally {
        charon.signal('SIGCONT');
      }
      const refused = client.request('unload-conn', { name: 'none' });
      await assert.rejects(refused, (error: ViciError) => error.code === 'refused');
      assert.equal(silences, 1);
    }));

  it('reads version, statistics and algorithms', () =>
    withClient(async (client) => {
      const version = await client.version();
      assert.match(version.daemon, /^charon/);
      assert.match(version.version, /^\d+\.\d+/);
      const statistics = await client.statistics();
      assert.ok(statistics.workers.total > 0);
      assert.ok(statistics.plugins.includes('vici'));
      assert.equal(statistics.ikeSas.total, 0);
      const algorithms = await client.algorithms();
      assert.ok(algorithms.get('encryption')!.includes('AES_CBC'));
      assert.ok(algorithms.get('prf')!.some((name) => name === 'PRF_HMAC_SHA2_256'));
    }));

  it('loads connections and secrets, lists and unloads them', () =>
    withClient(async (client) => {
      await client.request('load-shared', {
        id: 'paris',
        type: 'IKE',
        data: randomUUID(),
        owners: ['paris.example'],
      });
      await client.request('load-conn', { paris: CONNECTION });
      const [connection] = await client.connections();
      assert.equal(connection!.name, 'paris');
      assert.deepEqual(connection!.remoteAddresses, ['192.0.2.2']);
      assert.equal(connection!.uniqueness, 'UNIQUE_NO');
      const round = { method: 'pre-shared key', certificates: [], authorities: [] };
      assert.deepEqual(connection!.localRounds, [{ ...round, id: 'gw1.example' }]);
      assert.deepEqual(connection!.remoteRounds, [{ ...round, id: 'paris.example' }]);
      assert.deepEqual(connection!.children, [
        {
          name: 'net',
          mode: 'TUNNEL',
          rekeySeconds: 3600,
          dpdAction: 'none',
          closeAction: 'none',
          localTrafficSelectors: ['0.0.0.0/0'],
          remoteTrafficSelectors: ['0.0.0.0/0'],
        },
      ]);
      assert.deepEqual(await client.ikeSas(), []);
      assert.deepEqual(await client.pools(), []);
      assert.deepEqual(await client.certificates(), []);
      await client.request('unload-conn', { name: 'paris' });
      assert.deepEqual(await client.connections(), []);
    }));

  it('gives the words of the daemon when it refuses, and goes on', () =>
    withClient(async (client) => {
      const refusals: [string, object, RegExp][] = [
        ['load-conn', { paris: { ...CONNECTION, bogus: '1' } }, /unknown option: bogus/],
        ['load-conn', { paris: { ...CONNECTION, local_addrs: '192.0.2.1' } }, /unknown option: local_addrs/],
        ['unload-conn', { name: 'nobody' }, /not found/],
        ['terminate', { ike: 'nobody', timeout: 100 }, /no matching/],
      ];
      for (const [command, message, words] of refusals) {
        await assert.rejects(client.request(command, message as never), (error) => {
          assert.ok(error instanceof ViciError && error.code === 'refused', String(error));
          assert.match(error.message, words);
          return true;
        });
      }
      await assert.rejects(client.request('bogus'), (error: ViciError) => error.code === 'unknown_command');
      await client.version();
    }));

  it('a slow initiate delays nobody', () =>
    withClient(async (client) => {
      // charon tries until its own limit.
      await client.request('load-conn', { paris: CONNECTION });
      let ended = false;
      const initiate = client.block('initiate', { child: 'net' }, { timeoutMs: 1500 }).then(
        () => assert.fail('there is nobody to connect to'),
        (error: ViciError) => {
          ended = true;
          return error;
        },
      );
      const [sa] = await eventually('the SA is there', async () => {
        const all = await client.ikeSas();
        return all.length > 0 ? all : undefined;
      });
      assert.equal(ended, false);
      assert.equal(sa!.name, 'paris');
      assert.equal(sa!.state, 'CONNECTING');
      assert.equal(sa!.isInitiator, true);
      assert.equal((await initiate).code, 'refused');
      await client.request('terminate', { ike: 'paris', force: true, timeout: 1000 });
      await client.request('unload-conn', { name: 'paris' });
    }));

  it('comes back with the daemon, and reconciles before it is up', async () => {
    const reconciled: string[] = [];
    const states: string[] = [];
    const client = new ViciClient({
      socketPath: charon.socketPath,
      reconcile: async (self) => {
        const names = (await self.connections()).map(({ name }) => name);
        reconciled.push(names.join());
        if (names.length === 0) await self.request('load-conn', { paris: CONNECTION });
      },
    });
    client.on('state', (state) => states.push(state));
    client.handle('ike-updown', () => {});
    client.start();
    try {
      await eventually('the client is up', () => client.state === 'up');
      await charon.kill();
      await eventually('the client is down', () => client.state === 'down');
      await assert.rejects(client.version(), ViciError);
      assert.equal(client.lastError?.code, 'closed');
      await charon.start();
      await eventually('the client is up again', () => client.state === 'up');
      assert.deepEqual(
        (await client.connections()).map(({ name }) => name),
        ['paris'],
      );
    } finally {
      client.stop();
    }
    assert.deepEqual(reconciled, ['', '']);
    assert.deepEqual(states, ['down', 'reconciling', 'up', 'down', 'reconciling', 'up', 'stopped']);
  });

  it('waits for a daemon that is not there yet', async () => {
    await charon.kill();
    const client = new ViciClient({ socketPath: charon.socketPath });
    client.start();
    try {
      await eventually('it has tried', () => client.lastError !== undefined);
      assert.equal(client.lastError!.code, 'unreachable');
      await charon.start();
      await eventually('the client is up', () => client.state === 'up');
    } finally {
      client.stop();
    }
  });
});
