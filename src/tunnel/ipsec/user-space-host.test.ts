import assert from 'node:assert/strict';
import { it } from 'node:test';
import { type SteeredPath, steeringRules, userSpaceNames } from './user-space-host.ts';

const PATH: SteeredPath = {
  device: 'eth0',
  mtu: 1500,
  local: '192.0.2.1',
  remote: '198.51.100.10',
  nextHop: '192.0.2.254',
  wire: 'hwi-1',
  mac: '02:00:00:00:00:01',
};

it('names stay within what the kernel allows', () => {
  const { namespace, wire, device } = userSpaceNames('4026531840', 'a-name-of-15-ch');
  assert.ok(wire.length <= 15 && device.length <= 15 && namespace.length <= 255);
  assert.notEqual(wire, userSpaceNames('4026531840', 'another').wire);
});

it('a peer that is named comes before one that may be anybody', () => {
  const anybody = { ...PATH, remote: null, wire: 'hwi-2', mac: '02:00:00:00:00:02' };
  const rules = steeringRules([anybody, PATH]).split('\n');
  const at = (text: string): number => rules.findIndex((line) => line.includes(text));
  assert.ok(at('ip saddr 198.51.100.10 ip daddr 192.0.2.1 udp dport') > 0);
  assert.ok(at('fwd to "hwi-1"') < at('fwd to "hwi-2"'));
  // Nothing of a daemon goes anywhere but to its peer.
  assert.ok(at('ip saddr 192.0.2.1 ip daddr 198.51.100.10 fwd ip to 192.0.2.254 device "eth0"') > 0);
  assert.equal(
    rules.filter((line) => line.includes('hook ingress device "hwi-') && line.includes('policy drop')).length,
    2,
  );
});

it('has no sets: those of new rules are empty for a moment', () => {
  assert.doesNotMatch(steeringRules([PATH, { ...PATH, remote: null }]), /\{ /);
});

it('speaks IPv6, and leaves no table without paths', () => {
  const rules = steeringRules([{ ...PATH, local: '2001:db8::1', remote: '2001:db8::2', nextHop: 'fe80::1' }]);
  for (const port of [500, 4500]) {
    assert.match(rules, new RegExp(`ip6 saddr 2001:db8::2 ip6 daddr 2001:db8::1 udp dport ${port} `));
  }
  assert.match(rules, /fwd ip6 to fe80::1 device "eth0"/);
  assert.doesNotMatch(steeringRules([]), /^table/m);
});
