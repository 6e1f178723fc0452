/** What of a kernel's SAs and policies is ours is read off what `ip` shows. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { RunTool } from './host-tools.ts';
import { ownPolicies, ownStates, policyRemoval, removeSas, stateRemoval } from './kernel-host.ts';

const PRESENT = (): boolean => true;
const STATES = `src 192.0.2.1 dst 192.0.2.2
	proto esp spi 0xc0ffee01 reqid 1744830471 mode tunnel
	replay-window 0 flag af-unspec
	if_id 0x68000007
src 192.0.2.1 dst 192.0.2.3
	proto esp spi 0x00000000 reqid 1744830473 mode transport
	replay-window 0
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

it('knows ours and nothing else', () => {
  assert.deepEqual(ownStates(STATES), [
    { id: 0x68000007, source: '192.0.2.1', destination: '192.0.2.2', protocol: 'esp', spi: '0xc0ffee01' },
  ]);
  assert.deepEqual(ownPolicies(POLICIES), [
    { id: 0x68000007, direction: 'in', index: '24', interfaceId: '0x68000007' },
    { id: 0x68000008, direction: 'out', index: '33', interfaceId: undefined },
  ]);
  assert.deepEqual([ownStates(''), ownPolicies('')], [[], []]);
});

it('removes them by what the kernel knows them by', () => {
  assert.deepEqual(ownStates(STATES).map(stateRemoval), [
    'xfrm state delete src 192.0.2.1 dst 192.0.2.2 proto esp spi 0xc0ffee01',
  ]);
  assert.deepEqual(ownPolicies(POLICIES).map(policyRemoval), [
    'xfrm policy delete dir in index 24 if_id 0x68000007',
    'xfrm policy delete dir out index 33',
  ]);
});

describe('what is removed', () => {
  /** A kernel of which nothing can be removed, or which says nothing. */
  const tool = (states: () => string): RunTool => {
    return async (_, args, options) => {
      if (args.includes('list')) return args.includes('state') ? states() : '';
      assert.match(options?.input ?? '', /^xfrm state delete /);
      throw new Error('ip: Operation not permitted');
    };
  };

  it('is looked for again, and told if it stays', async () => {
    await assert.rejects(
      removeSas(
        tool(() => STATES),
        undefined,
        PRESENT,
      ),
      /1 SAs and policies of tunnels that are gone stay in the kernel: ip: Operation not permitted/,
    );
    await removeSas(
      tool(() => STATES),
      (id) => id === 0x68000009,
      PRESENT,
    );
    let looks = 0;
    await removeSas(
      tool(() => (looks++ === 0 ? STATES : '')),
      undefined,
      PRESENT,
    );
  });

  it('is not taken for nothing when the kernel cannot be asked', async () => {
    const silent = tool(() => {
      throw new Error('Cannot open netlink socket');
    });
    await assert.rejects(removeSas(silent, undefined, PRESENT), /Cannot open netlink socket/);
    await removeSas(silent, undefined, () => false);
  });
});
