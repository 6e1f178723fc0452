import assert from 'node:assert/strict';
import { it } from 'node:test';
import { failureReason } from '../../tunnel/ipsec/failure-reasons.ts';
import type { IpsecView } from '../ipsec/ipsec-view.ts';
import { ipsecConnection } from './ipsec-connection.ts';

const VIEW = {
  ike: { proposal: 'AES_GCM_16-256/ECP_384', peer: '198.51.100.11', peerPort: 4500 },
  child: { proposal: 'AES_GCM_16-256' },
} as unknown as IpsecView;

it('tells a peer that is silent from one that refuses, and from what is in the way', () => {
  const peer = (state: 'configured' | 'connecting' | 'up' | 'down', reason: string | null): string =>
    ipsecConnection({ state, reason, sinceMs: 0 }, VIEW, 1400).peer;
  assert.equal(peer('up', null), 'connected');
  assert.equal(peer('configured', 'waits for the peer to connect'), 'waiting');
  assert.equal(peer('down', '192.0.2.1 is not an address of this host'), 'blocked');
  assert.equal(peer('down', '/etc/secret cannot be read: there is no such file'), 'blocked');
  // Words of other people's are in these: neither says anything of the peer.
  assert.equal(peer('down', '/etc/secrets/the peer does not answer cannot be read: EIO'), 'blocked');
  assert.equal(
    peer('down', 'driver libipsec needs an Ethernet interface to its peer, and wg0 is none'),
    'blocked',
  );
  const said = (line: string): string => peer('down', failureReason(line)!);
  assert.equal(said('giving up after 3 retransmits'), 'silent');
  assert.equal(said('error sending to UDP socket: Network is unreachable'), 'blocked');
  assert.equal(said("no private key found for 'gw.example'"), 'blocked');
  for (const line of [
    'received AUTHENTICATION_FAILED notify error',
    'received NO_PROPOSAL_CHOSEN notify error',
    'received TS_UNACCEPTABLE notify, no CHILD_SA built',
    'no acceptable proposal found',
    'subject certificate invalid (valid from A to B)',
    "no trusted ECDSA public key found for 'paris.example'",
    'received DELETE for IKE_SA homeward-paris[1]',
  ]) {
    assert.equal(said(line), 'refused', line);
  }
});

it('says what was agreed on, and only while it holds', () => {
  const up = ipsecConnection({ state: 'up', reason: null, sinceMs: 0 }, VIEW, 1400);
  assert.deepEqual(
    [up.address, up.ikeProposal, up.childProposal, up.mtu],
    ['198.51.100.11 port 4500', 'AES_GCM_16-256/ECP_384', 'AES_GCM_16-256', 1400],
  );
  const down = ipsecConnection({ state: 'down', reason: 'gone', sinceMs: 0 }, VIEW, 1400);
  assert.equal(down.ikeProposal, null);
});
