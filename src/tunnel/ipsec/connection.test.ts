/** What is sent to the daemon is taken by a real one. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { EXAMPLE_IPSEC_TUNNEL } from '../../../test/fixtures/example-ipsec-tunnel.ts';
import { Charon, charonObstacle } from '../../../test/support/charon.ts';
import { NetworkNamespace } from '../../../test/support/network-namespace.ts';
import { eventually } from '../../../test/support/patience.ts';
import { makeCertificate } from '../../../test/support/tls-files.ts';
import { ViciClient } from '../../vici/client.ts';
import type { ViciInput } from '../../vici/message.ts';
import {
  CHILD_NAME,
  connectionMessage,
  connectionName,
  type IpsecTunnel,
  secretRequest,
  tunnelOfConnection,
} from './connection.ts';

const TUNNEL: IpsecTunnel = {
  ...EXAMPLE_IPSEC_TUNNEL,
  remote: null,
  start: 'both',
  kernel: { requestId: 7, interfaceId: 7 },
};
const PSK = { kind: 'psk', secret: Buffer.from('secret') } as const;

it('knows its own connections', () => {
  assert.equal(tunnelOfConnection(connectionName('paris')), 'paris');
  assert.equal(tunnelOfConnection('net'), undefined);
});

const skip = charonObstacle();
describe('messages for charon', skip === undefined ? {} : { skip }, () => {
  let namespace: NetworkNamespace;
  let charon: Charon;
  let client: ViciClient;

  before(async () => {
    namespace = new NetworkNamespace();
    charon = new Charon(namespace);
    await charon.start();
    client = new ViciClient({ socketPath: charon.socketPath });
    client.start();
    await eventually('the client is up', () => client.state === 'up');
  });
  after(async () => {
    client?.stop();
    await charon?.remove();
    await namespace?.remove();
  });

  it('are taken', async () => {
    for (const tunnel of [
      TUNNEL,
      {
        ...TUNNEL,
        remote: '192.0.2.2',
        start: 'respond',
        replayProtection: false,
        kernel: null,
      } as const,
    ]) {
      const [command, secret] = secretRequest(tunnel, PSK);
      await client.request(command, secret);
      await client.request('load-conn', connectionMessage(tunnel, PSK));
      const [loaded] = await client.connections();
      assert.equal(loaded!.name, 'homeward-paris-ipsec');
      assert.deepEqual(loaded!.remoteAddresses, [tunnel.remote ?? '%any']);
      assert.deepEqual(loaded!.children[0]!.localTrafficSelectors, ['0.0.0.0/0', '::/0']);
      assert.equal(loaded!.rekeySeconds, 14_400);
    }
  });

  it('agree on MOBIKE but where a daemon without the kernel would rely on it', () => {
    const mobike = (of: Partial<IpsecTunnel>): unknown => {
      const message = connectionMessage({ ...TUNNEL, ...of }, PSK)[connectionName(TUNNEL.name)];
      return (message as ViciInput).mobike;
    };
    assert.equal(mobike({ remote: null }), true);
    assert.equal(mobike({ remote: null, kernel: null }), false);
    assert.equal(mobike({ remote: '192.0.2.2', kernel: null }), true);
  });

  it('have the kernel mark what it decrypts with the id that it has of the tunnel', () => {
    const child = (of: Partial<IpsecTunnel>): ViciInput => {
      const message = connectionMessage({ ...TUNNEL, ...of }, PSK)[connectionName(TUNNEL.name)] as ViciInput;
      return (message.children as ViciInput)[CHILD_NAME] as ViciInput;
    };
    assert.equal(child({}).set_mark_in, '7');
    assert.equal(child({ protects: 'gre', kernel: { requestId: 8, interfaceId: null } }).set_mark_in, '8');
    assert.equal(child({ kernel: null }).set_mark_in, undefined);
  });

  it('that protect GRE are taken', async () => {
    const tunnel: IpsecTunnel = {
      ...TUNNEL,
      remote: '192.0.2.2',
      protects: 'gre',
      kernel: { requestId: 7, interfaceId: null },
    };
    await client.request('load-conn', connectionMessage(tunnel, PSK));
    const [loaded] = await client.connections();
    assert.equal(loaded!.children[0]!.mode, 'TRANSPORT');
    assert.deepEqual(loaded!.children[0]!.localTrafficSelectors, ['dynamic[gre]']);
  });

  it('with certificates are taken', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'homeward-ipsec-'));
    try {
      const { certificate, key } = makeCertificate(directory, 'gw.example');
      const credentials = {
        kind: 'certificate',
        certificates: [readFileSync(certificate)],
        key: readFileSync(key),
        authorities: [readFileSync(certificate)],
      } as const;
      const [command, secret] = secretRequest(TUNNEL, credentials);
      assert.equal(command, 'load-key');
      await client.request(command, secret);
      await client.request('load-conn', connectionMessage(TUNNEL, credentials));
      assert.equal((await client.connections())[0]!.name, 'homeward-paris-ipsec');
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
});
