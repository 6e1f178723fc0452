/** Secrets are read, and what is wrong with them is told without them. */
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { TestAuthority } from '../../../test/support/test-authority.ts';
import { makeCertificate } from '../../../test/support/tls-files.ts';
import type { IkeConfig, SecretPlace } from '../config/ipsec-config.ts';
import { GivenFileError } from '../given-file.ts';
import { CredentialsError, readIkeCredentials } from './ike-credentials.ts';

const directory = mkdtempSync(join(tmpdir(), 'homeward-credentials-'));
after(() => rmSync(directory, { recursive: true, force: true }));

function ike(authentication: IkeConfig['authentication']): IkeConfig {
  return {
    localId: 'a',
    remoteId: 'b',
    authentication,
    proposals: [],
    rekeyMs: 0,
    dpdMs: 0,
    start: 'both',
  };
}

function secretOf(secret: SecretPlace, environment: NodeJS.ProcessEnv = {}): string {
  const read = readIkeCredentials(ike({ kind: 'psk', secret }), environment);
  assert.equal(read.kind, 'psk');
  return read.kind === 'psk' ? Buffer.from(read.secret).toString() : '';
}

function file(name: string, content: string, mode = 0o600): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  chmodSync(path, mode);
  return path;
}

describe('secrets', () => {
  it('are taken without the end of their line, and nothing else', () => {
    assert.equal(secretOf({ file: file('a', 'hunter2\n') }), 'hunter2');
    assert.equal(secretOf({ file: file('b', ' hunter2 \r\n') }), ' hunter2 ');
    assert.equal(secretOf({ file: file('c', 'hunter2\n\n') }), 'hunter2\n');
    assert.equal(secretOf({ env: 'PSK' }, { PSK: 'hunter2' }), 'hunter2');
  });

  const wrong: readonly (readonly [string, () => SecretPlace, RegExp])[] = [
    ['not there', () => ({ file: join(directory, 'none') }), /none cannot be read: there is no such file$/],
    ['empty', () => ({ file: file('empty', '\n') }), /empty is empty; write the secret into it$/],
    [
      'open to everybody',
      () => ({ file: file('open', 'hunter2', 0o604) }),
      /everybody may use .*open; do "chmod o= /,
    ],
    ['without end', () => ({ file: '/dev/zero' }), /\/dev\/zero is no regular file; name one$/],
    ['a directory', () => ({ file: directory }), / is a directory; name a file$/],
    ['not in the environment', () => ({ env: 'PSK' }), /the environment has no PSK/],
  ];
  for (const [what, place, message] of wrong) {
    it(`that are ${what} are named`, () => {
      assert.throws(
        () => secretOf(place()),
        (error) => {
          assert.ok(error instanceof CredentialsError || error instanceof GivenFileError);
          assert.match(error.message, message);
          assert.doesNotMatch(error.message, /hunter2/);
          return true;
        },
      );
    });
  }
});

describe('certificates', () => {
  const own = makeCertificate(directory, 'gw');
  const other = makeCertificate(directory, 'paris');
  const config = (key: string): IkeConfig =>
    ike({
      kind: 'certificate',
      certificate: { file: own.certificate, key, ca: [other.certificate] },
    });

  it('are read with their key', () => {
    const read = readIkeCredentials(config(own.key));
    assert.ok(read.kind === 'certificate');
    assert.equal(read.certificates.length, 1);
    assert.equal(read.authorities.length, 1);
  });

  it('that are not valid now are refused: no peer would say why', () => {
    const authority = new TestAuthority(directory);
    const ended = authority.issue('ended', { endsInMs: -60_000 });
    const certified = (certificate: { certificate: string; key: string }): IkeConfig =>
      ike({
        kind: 'certificate',
        certificate: { file: certificate.certificate, key: certificate.key, ca: [authority.certificate] },
      });
    assert.throws(
      () => readIkeCredentials(certified(ended)),
      /ended\.pem has ended 20.*Z; write one into it/,
    );
    const early = authority.issue('early', { endsInMs: 500 * 24 * 3_600_000 });
    assert.throws(() => readIkeCredentials(certified(early)), /early\.pem begins 20.*Z;/);
  });

  it('of another key, or that are none, are refused by name', () => {
    assert.throws(
      () => readIkeCredentials(config(other.key)),
      /paris\.key is not the key of the certificate in .*gw\.pem/,
    );
    assert.throws(
      () => readIkeCredentials(config(own.certificate)),
      /everybody may use|is no private key as PEM/,
    );
    const none = config(own.key);
    assert.ok(none.authentication.kind === 'certificate');
    const authorities = { ...none.authentication.certificate, ca: [file('ca', 'nothing')] };
    assert.throws(
      () => readIkeCredentials(ike({ kind: 'certificate', certificate: authorities })),
      /ca holds no certificate as PEM/,
    );
  });
});
