import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  DEFAULT_PROPOSALS,
  knownProposal,
  missingAlgorithms,
  type ProposalKind,
  parseProposal,
} from './proposals.ts';

/** A neighbour in spelling, as far as this test needs one. */
const suggest = (word: string, known: readonly string[]): string | undefined =>
  known.find((other) => other.startsWith(word.slice(0, -1)) && other.length === word.length);

describe('proposals', () => {
  it('are read', () => {
    const { algorithms } = knownProposal('ike', 'aes256gcm16-prfsha384-ecp384');
    assert.deepEqual(
      algorithms.map(({ kind, name }) => `${kind} ${name}`),
      ['aead AES_GCM_16', 'prf PRF_HMAC_SHA2_384', 'ke ECP_384'],
    );
    for (const text of [
      'aes256-sha256-modp2048',
      'aes128gcm16-prfsha256-x25519',
      'aes256-sha384-prfsha384-ecp384',
    ]) {
      knownProposal('ike', text);
    }
    for (const text of ['aes256gcm16', 'aes256-sha256', 'chacha20poly1305-x25519', 'aes128-sha1-modp2048']) {
      knownProposal('esp', text);
    }
    for (const kind of ['ike', 'esp'] as const) {
      for (const text of DEFAULT_PROPOSALS[kind]) knownProposal(kind, text);
    }
  });

  const wrong: readonly (readonly [ProposalKind, string, string])[] = [
    [
      'ike',
      'aes256gcm17-prfsha384-ecp384',
      '"aes256gcm17-prfsha384-ecp384" has the unknown algorithm "aes256gcm17"; did you mean aes256gcm16?',
    ],
    [
      'ike',
      'aes256gcm16-ecp384',
      '"aes256gcm16-ecp384" has aes256gcm16 without a PRF; add one such as prfsha384',
    ],
    ['ike', 'aes256-sha256', '"aes256-sha256" has no key exchange; add one such as ecp384'],
    ['ike', 'sha256-modp2048', '"sha256-modp2048" has no encryption; put aes256gcm16 in front, say'],
    [
      'ike',
      'aes256-modp2048',
      '"aes256-modp2048" has aes256 without integrity; add one such as sha256, or write aes256gcm16',
    ],
    [
      'esp',
      'aes256gcm16-sha256',
      '"aes256gcm16-sha256" has integrity (sha256) beside aes256gcm16, which authenticates itself; leave sha256 out',
    ],
    [
      'esp',
      'aes256gcm16-prfsha384',
      '"aes256gcm16-prfsha384" has a PRF (prfsha384), which ESP does not use; leave prfsha384 out',
    ],
    [
      'esp',
      'aes256-aes256gcm16-sha256',
      '"aes256-aes256gcm16-sha256" mixes encryption with and without authentication of its own; write two proposals',
    ],
    ['esp', 'zzz', '"zzz" has the unknown algorithm "zzz"; write one such as aes256gcm16'],
  ];
  for (const [kind, text, problem] of wrong) {
    it(`of ${kind}: ${text} is refused with what would be right`, () => {
      assert.deepEqual(parseProposal(kind, text, suggest), { problem });
    });
  }

  it('are compared with what the daemon has, by the names of 5.9 and 6.0', () => {
    const proposal = knownProposal('ike', 'aes256gcm16-prfsha384-ecp384');
    const available = new Map([
      ['aead', ['AES_GCM_16']],
      ['prf', ['PRF_HMAC_SHA2_384']],
      ['dh', ['ECP_384']],
    ]);
    assert.equal(missingAlgorithms(proposal, available), undefined);
    assert.equal(
      missingAlgorithms(proposal, new Map([...available, ['ke', ['ECP_384']], ['dh', []]])),
      undefined,
    );
    assert.equal(
      missingAlgorithms(proposal, new Map([...available, ['aead', []]])),
      'the IKE daemon has no encryption aes256gcm16 (AES_GCM_16), which aes256gcm16-prfsha384-ecp384 needs',
    );
  });
});
