/** The room within ESP, as Linux has it (`xfrm_state_mtu`). */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { largestProtected } from './esp-size.ts';
import { DEFAULT_PROPOSALS, knownProposal, PROPOSAL_KEYWORDS, parseProposal } from './proposals.ts';

const of = (mtu: number, family: 4 | 6, ...texts: readonly string[]): number =>
  largestProtected(
    mtu,
    family,
    texts.map((text) => knownProposal('esp', text)),
  );

it('is what Linux says', () => {
  assert.equal(of(1500, 4, 'aes256gcm16'), 1438);
  assert.equal(of(1500, 6, 'aes128gcm16'), 1418);
  assert.equal(of(1500, 4, 'aes256-sha256'), 1422);
  assert.equal(of(1500, 4, 'aes128-sha1'), 1422);
  assert.equal(of(1492, 4, 'chacha20poly1305'), 1430);
});

it('is that of the proposal that needs most', () => {
  assert.equal(of(1500, 4, ...DEFAULT_PROPOSALS.esp), 1422);
  assert.equal(of(1500, 4, 'aes256gcm16-ecp384'), 1438);
});

it('is known of every algorithm', () => {
  for (const keyword of PROPOSAL_KEYWORDS) {
    for (const text of [keyword, `${keyword}-sha512`, `aes256-${keyword}`]) {
      const reading = parseProposal('esp', text, () => undefined);
      if ('problem' in reading) continue;
      const size = largestProtected(1500, 4, [reading.proposal]);
      assert.ok(size >= 1406 && size <= 1454, `${text}: ${size}`);
    }
  }
});
