/** What is told of a tunnel's SAs. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readIkeSas } from '../../vici/views.ts';
import { ipsecView } from './ipsec-view.ts';

/** As charon tells of its SA: `yes` for each condition that holds. */
function isTranslated(...conditions: readonly string[]): boolean | undefined {
  const sa = new Map(
    Object.entries({ uniqueid: '1', state: 'ESTABLISHED' }).map(([name, value]) => [
      name,
      Buffer.from(value),
    ]),
  );
  for (const condition of conditions) sa.set(condition, Buffer.from('yes'));
  const details = {
    sas: readIkeSas(new Map([['homeward-paris', sa]])),
    traffic: { bytesIn: 0, packetsIn: 0, bytesOut: 0, packetsOut: 0 },
    rekeyings: { ike: 0, child: 0 },
    peerCertificate: undefined,
  };
  return ipsecView({ localId: 'gw', remoteId: 'paris' }, details, []).ike?.translated;
}

test('a translator that the daemon makes believe, to have ESP in UDP, is none', () => {
  assert.equal(isTranslated(), false);
  assert.equal(isTranslated('nat-fake', 'nat-any'), false);
  assert.equal(isTranslated('nat-remote', 'nat-any'), true);
  assert.equal(isTranslated('nat-local', 'nat-fake', 'nat-any'), true);
});
