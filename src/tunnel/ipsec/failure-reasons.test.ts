import assert from 'node:assert/strict';
import { it } from 'node:test';
import { failureReason } from './failure-reasons.ts';
import { type IpsecTunnelStatus, TunnelState } from './tunnel-state.ts';

it('reads reasons off the lines of strongSwan 5.9.8', () => {
  const lines: readonly (readonly [string, RegExp])[] = [
    ['received AUTHENTICATION_FAILED notify error', /refuses our authentication/],
    ["tried 1 shared key for 'gw' - 'paris', but MAC mismatched", /pre-shared key is another one/],
    ["no shared key found for 'gw' - 'paris'", /no secret is for/],
    ['received NO_PROPOSAL_CHOSEN notify error', /none of our proposals/],
    ['giving up after 3 retransmits', /does not answer/],
    ["no trusted ECDSA public key found for 'paris'", /certificate of the peer paris/],
  ];
  for (const [line, reason] of lines) assert.match(failureReason(line) ?? '', reason, line);
  assert.equal(failureReason('IKE_SA homeward-paris[1] established between'), undefined);
});

it('a tunnel that is down keeps its reason until it is up', () => {
  let nowMs = 1000;
  const seen: IpsecTunnelStatus[] = [];
  const state = new TunnelState(
    (status) => seen.push(status),
    () => nowMs,
  );
  state.connecting();
  nowMs = 2000;
  state.down('no answer');
  nowMs = 3000;
  state.connecting();
  state.waits();
  state.down();
  assert.deepEqual(state.status, { state: 'down', reason: 'no answer', sinceMs: 2000 });
  state.down('another reason');
  assert.equal(state.status.sinceMs, 2000);
  nowMs = 4000;
  state.up();
  assert.deepEqual(state.status, { state: 'up', reason: null, sinceMs: 4000 });
  state.down();
  assert.equal(seen.at(-1)?.reason, 'the connection ended');
  assert.deepEqual(
    seen.map(({ state: name }) => name),
    ['connecting', 'down', 'down', 'up', 'down'],
  );
});
