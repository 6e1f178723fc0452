/** Identities: what stands for exactly one end, and what is the same end in other words. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readIdentity, sameIdentityKey } from './identity.ts';

function isTaken(text: string): boolean {
  const reading = readIdentity(text);
  return reading !== undefined && 'value' in reading;
}

describe('identities', () => {
  const taken = [
    'paris.example',
    '@paris.example',
    'paris',
    'PARIS-1',
    'paris gateway',
    'admin@paris.example',
    '@@admin@paris.example',
    '@#0a0B',
    '192.0.2.1',
    '2001:db8::1',
    'abcd::1',
    'C=FR, O=Paris, CN=gw.paris.example',
    '/C=FR/O=Paris: the gateway/CN=gw',
    'CN=Zürich',
  ];
  for (const text of taken) it(`may be ${text}`, () => assert.ok(isTaken(text)));

  // The daemon takes each of these, for more than one identity or for one that another text is, too.
  const refused = [
    '',
    '*',
    '*.example',
    'CN=*',
    '%any',
    '%any6',
    '%ANY',
    '0.0.0.0',
    '::',
    '0::0',
    '192.0.2.0/24',
    '2001:db8::/32',
    '192.0.2.1-192.0.2.9',
    '2001:db8::1-2001:db8::9',
    '224.0.0.1',
    '127.0.0.1',
    'fqdn:paris.example',
    'DNS:paris.example',
    'email:admin@paris.example',
    'ipv4:192.0.2.1',
    'ipv4net:0.0.0.0/0',
    'fqdn:paris=example',
    'asn1dn:#3000',
    'keyid:paris',
    'fqdn:^.+$',
    '^.+$',
    '{2}:paris.example',
    '{dn}:paris',
    '@#',
    '@#0',
    '@#zz',
    '=x',
    ' paris.example',
    'paris.example ',
    'a\nb',
    'a@b@c',
    '@',
  ];
  for (const text of refused) it(`may not be ${JSON.stringify(text)}`, () => assert.ok(!isTaken(text)));

  const same: readonly (readonly [string, string])[] = [
    ['paris.example', '@Paris.example'],
    ['admin@paris.example', '@@ADMIN@paris.example'],
    ['@#0A0b', '@#0a0B'],
    ['2001:db8::1', '2001:DB8:0:0::1'],
    ['C=FR, CN=paris', 'c = fr,cn=Paris'],
    ['C=FR, CN=paris', '/C=FR/CN=paris'],
  ];
  for (const [one, other] of same) {
    it(`are the same: ${one}, ${other}`, () => assert.equal(sameIdentityKey(one), sameIdentityKey(other)));
  }

  it('that differ are told apart', () => {
    const keys = new Set(taken.map(sameIdentityKey));
    // `@` before a name is no part of it, nor `@@` before an e-mail address.
    assert.equal(keys.size, taken.length - 2);
  });
});
