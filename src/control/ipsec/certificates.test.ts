/** Certificates near their end are warned of once for each step. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { TestAuthority } from '../../../test/support/test-authority.ts';
import type { IkeConfig } from '../config/ipsec-config.ts';
import type { Logger } from '../runtime/logger.ts';
import { CertificateWatch } from './certificates.ts';

const DAY_MS = 24 * 3_600_000;
const directory = mkdtempSync(join(tmpdir(), 'homeward-certificates-'));
after(() => rmSync(directory, { recursive: true, force: true }));

it('warns thirty days, seven days, a day before the end, and at it', () => {
  const authority = new TestAuthority(directory);
  const { certificate: file, key } = authority.issue('gw.example', { endsInMs: 29 * DAY_MS });
  const ike = {
    authentication: { kind: 'certificate', certificate: { file, key, ca: [authority.certificate] } },
  } as unknown as IkeConfig;
  const warnings: string[] = [];
  const logger = { warn: (_: object, text: string) => warnings.push(text) } as unknown as Logger;
  const peer = { subject: 'CN=paris.example', notAfterMs: Date.now() + 90 * DAY_MS };
  const watch = new CertificateWatch(logger, () => peer);
  try {
    watch.watch([{ name: 'paris-ipsec', ike }]);
    assert.deepEqual(
      watch.of('paris-ipsec').map(({ whose, subject }) => `${whose} ${subject}`),
      ['own CN=gw.example', 'authority CN=Test Authority', 'peer CN=paris.example'],
    );
    assert.equal(warnings.length, 1);
    assert.match(
      warnings[0]!,
      /^paris-ipsec: the own certificate \(CN=gw\.example\) ends 20.*Z, within 29 days$/,
    );
    for (const days of [0, 20, 23, 27, 28, 28.5, 30]) {
      watch.lookAt('paris-ipsec', Date.now() + days * DAY_MS);
      watch.lookAt('paris-ipsec', Date.now() + days * DAY_MS);
    }
    assert.equal(warnings.length, 4);
    assert.match(warnings[3]!, /has ended/);
    watch.lookAt('paris-ipsec', Date.now() + 84 * DAY_MS);
    assert.match(warnings[4]!, /the certificate of the peer \(CN=paris\.example\) ends/);
  } finally {
    watch.stop();
  }
});
