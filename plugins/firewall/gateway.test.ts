/** The firewall in a gateway in memory: whole flows, and what else comes by: fragments, extension headers, ICMP errors. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { buildFragments, buildPacket } from '../../src/wire/build.ts';
import { echo, icmpError, tcp, udp } from '../../test/support/packets.ts';
import { FirewalledGateway, SYN } from './tested-firewall.fixture.ts';

const HOP_BY_HOP = 0;
const DESTINATION_OPTIONS = 60;

it('judges the flows of a gateway', () => {
  const { gateway } = new FirewalledGateway({
    default: 'drop',
    rules: [
      {
        match: 'from.site == paris and to.site == dc and udp.dstport == 53',
        action: 'accept',
        limit: { concurrent: 2 },
      },
      { match: 'tcp', action: 'reject' },
    ],
  });
  const ask = (port: number): number =>
    gateway.send('paris', udp(`10.0.1.5 ${port}`, '10.50.0.1 53', 'x')).length;
  assert.deepEqual([ask(1000), ask(1001), ask(1002), ask(1000)], [1, 1, 0, 1]);
  assert.equal(gateway.send('dc', udp('10.50.0.1 53', '10.0.1.5 1000', 'y')).length, 1);
  assert.equal(gateway.send('paris', udp('10.0.1.5 1', '10.50.0.1 54')).length, 0);
  assert.equal(gateway.send('paris', udp('10.0.9.5 1', '10.50.0.1 53')).length, 0);
  const [reset] = gateway.send('paris', tcp('10.0.1.5 1', '10.50.0.1 80', SYN));
  assert.equal(reset?.port, 'paris');
  assert.deepEqual(gateway.drops('paris'), { policy: 3, policy_reject: 1 });
  // Both flows time out: there is room for others.
  for (let i = 0; i < 400; i++) gateway.pass(2000);
  assert.equal(gateway.flows, 0);
  assert.deepEqual([ask(1003), ask(1004), ask(1005)], [1, 1, 0]);
  assert.deepEqual(gateway.failures, []);
});

const echoOnly = {
  default: 'drop',
  rules: [{ match: 'udp.dstport == 53', action: 'accept' }],
};

it('judges a datagram in fragments once, as a whole, in whatever order these come', () => {
  for (const [port, passes] of [
    [53, true],
    [54, false],
  ] as const) {
    for (const order of [
      [0, 1, 2],
      [2, 1, 0],
    ]) {
      const { gateway, tested } = new FirewalledGateway(echoOnly);
      const whole = buildPacket(udp('10.0.1.5 4000', `10.50.0.1 ${port}`, new Uint8Array(1200)));
      const fragments = buildFragments(whole, 508, 7);
      assert.equal(fragments.length, 3);
      const came = order.flatMap((at) => gateway.sendBytes('paris', fragments[at]!));
      assert.equal(came.length > 0, passes, `port ${port}, fragments ${order}`);
      const { accepted = 0, dropped = 0 } = tested.counters;
      assert.deepEqual([accepted, dropped], passes ? [1, 0] : [0, 1]);
    }
  }
});

it('finds the ports behind IPv6 extension headers', () => {
  const { gateway } = new FirewalledGateway({
    default: 'drop',
    rules: [{ match: 'ipv6.nxt == udp and udp.dstport == 53', action: 'accept' }],
  });
  const extensions = [HOP_BY_HOP, DESTINATION_OPTIONS].map((protocol) => ({
    protocol,
    // PadN.
    body: Uint8Array.of(1, 4, 0, 0, 0, 0),
  }));
  const send = (port: number): number =>
    gateway.send('paris', udp('fd00:1::5 4000', `fd00:50::1 ${port}`, 'x', { extensions })).length;
  assert.deepEqual([send(53), send(54)], [1, 0]);
});

it('leaves ICMP errors to the flows that they are about', () => {
  const { gateway, tested } = new FirewalledGateway(echoOnly);
  const [asked] = gateway.send('paris', udp('10.0.1.5 4000', '10.50.0.1 53', 'x'));
  const about = icmpError('10.50.0.1', '10.0.1.5', 3, 3, asked!.packet);
  assert.equal(gateway.send('dc', about).length, 1);
  // About no flow, and what begins none, nobody asks the firewall.
  const stray = buildPacket(udp('10.0.1.5 4001', '10.50.0.1 53', 'x'));
  assert.equal(gateway.send('dc', icmpError('10.50.0.1', '10.0.1.5', 3, 3, stray)).length, 0);
  assert.equal(gateway.send('dc', echo('10.50.0.1', '10.0.1.5', 0, 7)).length, 0);
  assert.deepEqual(tested.counters, { accepted: 1 });
});
