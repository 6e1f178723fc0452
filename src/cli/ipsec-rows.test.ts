import assert from 'node:assert/strict';
import { it } from 'node:test';
import { ipsecRows } from './ipsec-rows.ts';

it('says who the ends are, what was agreed on, and what ends soon', () => {
  const now = Date.parse('2026-05-04T00:00:00Z');
  const rows = ipsecRows(
    {
      localId: 'gw1.example',
      remoteId: 'paris.example',
      ike: {
        proposal: 'AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384',
        peer: '198.51.100.11',
        peerPort: 4500,
        translated: true,
        establishedSeconds: 3725,
        rekeySeconds: 10_675,
      },
      child: {
        proposal: 'AES_GCM_16-256',
        encapsulated: true,
        localSelectors: ['0.0.0.0/0', '::/0'],
        remoteSelectors: ['10.0.1.0/24'],
        installedSeconds: 61,
        rekeySeconds: null,
      },
      traffic: { bytesIn: 1500, packetsIn: 3, bytesOut: 0, packetsOut: 0 },
      rekeyings: { ike: 0, child: 2 },
      certificates: [
        { whose: 'own', subject: 'CN=gw1.example', ends: '2027-05-04T00:00:00.000Z' },
        { whose: 'peer', subject: 'CN=paris.example', ends: '2026-05-10T12:00:00.000Z' },
      ],
    },
    now,
  );
  assert.deepEqual(rows, [
    ['identities', 'gw1.example with paris.example'],
    ['peer', '198.51.100.11 port 4500, with a translator on the way'],
    ['ike', 'AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384, 1h02m old, rekeyed in 2h57m, 0 rekeyings'],
    ['esp', 'AES_GCM_16-256 in UDP, 1m01s old, 2 rekeyings'],
    ['selectors', '0.0.0.0/0, ::/0 with 10.0.1.0/24'],
    ['esp in', '3 packets, 1.50kB'],
    ['esp out', '0 packets, 0B'],
    ['own certificate', 'CN=gw1.example, ends 2027-05-04T00:00:00.000Z'],
    ["peer's certificate", 'CN=paris.example, ends in 6d12h: 2026-05-10T12:00:00.000Z'],
  ]);
});
