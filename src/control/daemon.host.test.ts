/** The control process follows the host. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DaemonHost } from '../../test/support/daemon-host.ts';
import { eventually } from '../../test/support/network-namespace.ts';

test('the host changes: routes make a new plan, a device made anew is guarded and opened again', async (t) => {
  const host = new DaemonHost(t);
  const before = host.picture();
  const daemon = host.start();
  const { planGeneration } = await host.forwarding();
  host.namespace.ip('route replace default via 192.0.2.253');
  await eventually('a plan with the new next hop', async () => {
    return (await host.status()).planGeneration > planGeneration;
  });

  host.namespace.ip('link del ic0');
  host.namespace.ip('link add ic0 type veth peer name ic1', 'link set ic1 up');
  await eventually('the new device is ours', () => /^ic0 NOARP,UP/m.test(host.picture()));
  await eventually('the port is up again', async () => (await host.status()).tunnels[0]!.state === 'up');
  assert.match(
    host.namespace.exec('nft', ['list', 'table', 'netdev', 'homeward']),
    /device "ic0" .*policy drop/,
  );

  assert.equal(await host.end(daemon, 'SIGINT'), 0);
  host.namespace.ip('route replace default via 192.0.2.254');
  assert.equal(host.picture(), before);
});
