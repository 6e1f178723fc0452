/** Health checks through a real gateway: a line that carries nothing is found out, left, and found well again. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { showTunnel } from '../../src/api/client/overview.ts';
import type { ApiClient } from '../../src/api/client.ts';
import { homeward } from '../support/command-line.ts';
import { DaemonHost } from '../support/daemon-host.ts';
import { NetworkNamespace } from '../support/network-namespace.ts';
import { eventually } from '../support/patience.ts';

const CONFIG = `version: 1
gateway: { name: gw1 }
sites:
  - name: lyon
    prefixes: [10.0.1.0/24]
    tunnels:
      - { name: lyon-1, type: interconnect, device: ic0, interface_address: 172.20.0.1/30, next_hop: 172.20.0.2, health: { rate: high } }
      - { name: lyon-2, type: interconnect, device: ic2, interface_address: 172.20.4.1/30, next_hop: 172.20.4.2, priority: 200, health: { rate: high } }
  - name: office
    prefixes: [10.0.2.0/24]
    tunnels:
      - { name: office-ic, type: interconnect, device: of0, interface_address: 10.0.2.1/24, health: { target: 10.0.2.99 } }
flow_table: { max_flows: 4096 }
`;

/** Both ends of the office's pings, and two lines between the gateway and lyon. */
async function gatewayWithTwoLines(
  t: TestContext,
): Promise<{ host: DaemonHost; lyon: NetworkNamespace; office: NetworkNamespace }> {
  const host = new DaemonHost(t);
  const lyon = new NetworkNamespace();
  t.after(() => lyon.remove());
  const office = new NetworkNamespace();
  t.after(() => office.remove());
  writeFileSync(host.configPath, CONFIG);
  host.namespace.ip(
    'link add ic2 type veth peer name ic3',
    'link add of0 type veth peer name of1',
    `link set ic1 netns ${lyon.name}`,
    `link set ic3 netns ${lyon.name}`,
    `link set of1 netns ${office.name}`,
  );
  lyon.exec('sysctl', ['-qw', 'net.ipv4.conf.all.rp_filter=0', 'net.ipv4.conf.default.rp_filter=0']);
  lyon.ip(
    'link set lo up',
    'address add 172.20.0.2/30 dev ic1',
    'address add 172.20.4.2/30 dev ic3',
    'address add 10.0.1.7/32 dev lo',
    'link set ic1 up',
    'link set ic3 up',
    'route add default via 172.20.4.1',
  );
  lyon.exec('sysctl', ['-qw', 'net.ipv4.conf.ic1.rp_filter=0', 'net.ipv4.conf.ic3.rp_filter=0']);
  office.ip('address add 10.0.2.10/24 dev of1', 'link set of1 up', 'route add default via 10.0.2.1');
  host.start();
  await host.forwarding();
  return { host, lyon, office };
}

test('flows leave a line that carries nothing, and new ones keep away from it', async (t) => {
  const { host, lyon, office } = await gatewayWithTwoLines(t);
  const api: ApiClient = host.api;
  const state = async (tunnel: string): Promise<string> => (await showTunnel(api, tunnel)).state;
  const health = async (tunnel: string): Promise<string> =>
    (await showTunnel(api, tunnel)).health?.state ?? 'not checked';
  const route = async (): Promise<string> => {
    const { stdout, stderr } = await homeward(host.runtimeDirectory, 'routes', 'test', '10.0.1.7');
    return stdout + stderr;
  };
  for (const line of ['lyon-1', 'lyon-2']) {
    await eventually(`${line} is healthy`, async () => (await health(line)) === 'healthy');
  }
  assert.match(await route(), /leaves by lyon-1/);
  // One flow: the identifier of a ping stays the same.
  const ping = office.spawn('ping', ['-i', '0.2', '-W', '1', '10.0.1.7']);
  let answers = 0;
  ping.stdout!.on('data', (text: Buffer) => {
    answers += String(text).split('bytes from').length - 1;
  });
  await eventually('pings are answered', () => answers > 3);

  lyon.exec('nft', [
    'add table netdev cut; add chain netdev cut in { type filter hook ingress device ic1 priority 0; }; add rule netdev cut in ip protocol icmp drop',
  ]);
  await eventually('it is found out', async () => (await state('lyon-1')) === 'down');
  const before = answers;
  await eventually('the flow goes on by the other line', () => answers > before + 3);
  assert.match(await route(), /leaves by lyon-2.*Health checks of lyon-1 fail/s);
  await eventually('it is logged', () =>
    /lyon-1 is down: health checks: 172\.20\.0\.2 does not answer/.test(host.output()),
  );
  const metrics = await homeward(host.runtimeDirectory, 'tunnels', 'show', 'lyon-1');
  assert.match(metrics.stdout, /^state +down since \S+Z: health checks: 172\.20\.0\.2 does not answer$/m);
  const overview = await homeward(host.runtimeDirectory, 'status');
  assert.match(overview.stdout, /^lyon-1 +down +\S+Z +health checks: 172\.20\.0\.2 does not answer$/m);
  assert.match(metrics.stdout, /^health +down: 172\.20\.0\.2, \d+\.\d ms, \d+\.\d % lost$/m);
  assert.equal(await state('lyon-2'), 'up');

  // The data plane forgets it when it ends; control tells the next one.
  process.kill((await host.status()).dataPlane.pid!, 'SIGKILL');
  await eventually('another data plane forwards', async () => {
    const { dataPlane } = await host.status();
    return dataPlane.restarts === 1 && dataPlane.state === 'forwarding';
  });
  assert.match(await route(), /leaves by lyon-2/);

  lyon.exec('nft', ['delete table netdev cut']);
  await eventually('it carries packets again', async () => (await state('lyon-1')) === 'degraded');
  assert.match(await route(), /leaves by lyon-2/);
  // Nobody has ever answered at 10.0.2.99: nothing is concluded from that.
  assert.equal(await health('office-ic'), 'unknown');
  assert.equal(await state('office-ic'), 'up');
  // Health checks are no flows: the ping is the only one.
  assert.equal((await host.status()).flows!.current, 1);
});
