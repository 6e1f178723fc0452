/** What of a kernel's SAs and policies is ours is read off what `ip` shows. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { isOwnId, policyRemovals, stateRemovals } from './kernel-host.ts';

const STATES = `src 192.0.2.1 dst 192.0.2.2
	proto esp spi 0xc0ffee01 reqid 1744830471 mode tunnel
	replay-window 0 flag af-unspec
	if_id 0x68000007
src 2001:db8::1 dst 2001:db8::2
	proto esp spi 0x00001001 reqid 77 mode tunnel
	replay-window 0
`;
const POLICIES = `src ::/0 dst ::/0 uid 0
	dir in action allow index 24 priority 0 ptype main share any flag  (0x00000000)
	lifetime config:
	  limit: soft (INF)(bytes), hard (INF)(bytes)
	tmpl src 192.0.2.2 dst 192.0.2.1
		proto esp spi 0x00000000(0) reqid 1744830471(0x68000007) mode tunnel
		level required share any
	if_id 0x68000007
src 192.0.2.1/32 dst 192.0.2.9/32 proto gre uid 0
	dir out action allow index 33 priority 0 ptype main share any flag  (0x00000000)
	tmpl src 0.0.0.0 dst 0.0.0.0
		proto esp spi 0x00000000(0) reqid 1744830472(0x68000008) mode transport
src 10.0.0.0/8 dst 10.1.0.0/16 uid 0
	dir fwd action allow index 42 priority 0 ptype main share any flag  (0x00000000)
	tmpl src 192.0.2.2 dst 192.0.2.1
		proto esp spi 0x00000000(0) reqid 5(0x00000005) mode tunnel
src 0.0.0.0/0 dst 0.0.0.0/0 uid 0
	socket in action allow index 19 priority 0 ptype main share any flag  (0x00000000)
`;

it('removes ours and nothing else', () => {
  assert.deepEqual(stateRemovals(STATES, isOwnId), [
    'xfrm state delete src 192.0.2.1 dst 192.0.2.2 proto esp spi 0xc0ffee01',
  ]);
  assert.deepEqual(policyRemovals(POLICIES, isOwnId), [
    'xfrm policy delete dir in index 24 if_id 0x68000007',
    'xfrm policy delete dir out index 33',
  ]);
  assert.deepEqual([stateRemovals('', isOwnId), policyRemovals('', isOwnId)], [[], []]);
});
