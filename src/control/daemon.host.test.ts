/** The control process follows the host. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DaemonHost } from '../../test/support/daemon-host.ts';
import { NetworkNamespace } from '../../test/support/network-namespace.ts';
import { eventually } from '../../test/support/patience.ts';

/** Sends a datagram to each address. */
const SEND = `
  const socket = require('node:dgram').createSocket('udp4');
  const addresses = process.argv.slice(1);
  let sent = 0;
  for (const address of addresses) socket.send('x', 9, address, () => ++sent === addresses.length && socket.close());
`;

test('the host changes: routes make a new plan, a device made anew is guarded and opened again', async (t) => {
  const host = new DaemonHost(t);
  host.answer();
  const before = host.picture();
  const daemon = host.start();
  const { planGeneration } = await host.forwarding();
  host.namespace.ip('route replace default via 192.0.2.253');
  await eventually('a plan with the new next hop', async () => {
    return (await host.status()).planGeneration > planGeneration;
  });

  host.namespace.ip('link del ic0');
  host.namespace.ip('link add ic0 type veth peer name ic1');
  host.answer();
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

test('the guard is removed by somebody: it is set again, also while the host does not fit the configuration', async (t) => {
  const host = new DaemonHost(t);
  const daemon = host.start();
  await host.forwarding();
  const guard = (): string => host.namespace.exec('nft', ['list', 'ruleset']);
  const whole = guard();
  const damages = [
    'flush ruleset',
    'delete table netdev homeward',
    'flush chain inet homeward forward',
    'insert rule inet homeward forward accept',
  ];
  for (const damage of damages) {
    host.namespace.nft(damage);
    await eventually(`the guard stands again after "${damage}"`, () => guard() === whole);
  }

  host.namespace.ip('route del default');
  host.namespace.ip('address del 192.0.2.1/24 dev up0');
  host.namespace.nft('flush ruleset');
  await eventually('the guard stands again', () => guard() === whole);
  assert.equal(await host.end(daemon, 'SIGINT'), 0);
});

test('nobody is left and the guard is flushed: the host still takes nothing from a site', async (t) => {
  const host = new DaemonHost(t);
  const site = new NetworkNamespace();
  t.after(() => site.remove());
  host.namespace.ip(`link set ic1 netns ${site.name}`);
  site.ip('address add 172.20.0.2/30 dev ic1', 'link set ic1 up', 'route add default via 172.20.0.1');
  const daemon = host.start();
  const { dataPlane } = await host.forwarding();
  const mac = host.namespace.exec('cat', ['/sys/class/net/ic0/address']).trim();
  site.ip(`neigh replace 172.20.0.1 lladdr ${mac} dev ic1 nud permanent`);
  await host.end(daemon, 'SIGKILL');
  process.kill(dataPlane.pid!, 'SIGKILL');
  // What the host answers or forwards; and that what was sent has arrived.
  host.namespace.nft(`
    flush ruleset
    table inet observer {
      counter arrived { }
      counter left { }
      chain in { type filter hook prerouting priority -500; iifname "ic0" udp dport 9 counter name arrived
      }
      chain out { type filter hook postrouting priority 500; oifname != "lo" ip protocol { udp, icmp } counter name left
      }
    }
  `);
  const packets = (counter: string): number => {
    const listed = host.namespace.exec('nft', ['list', 'counter', 'inet', 'observer', counter]);
    return Number(/packets (\d+)/.exec(listed)![1]);
  };
  site.exec(process.execPath, ['-e', SEND, '192.0.2.1', '198.51.100.7', '172.20.0.1']);
  await eventually('the datagrams have arrived', () => packets('arrived') === 3);
  assert.equal(packets('left'), 0);
  host.namespace.exec('nft', ['flush', 'ruleset']);
});
