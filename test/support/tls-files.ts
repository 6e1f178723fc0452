/** A certificate of its own, and files for secrets, for tests of the API on the network. */
import { execFileSync } from 'node:child_process';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** A token that can be recognised wherever it should not be. */
export const SECRET = 'THIS-IS-A-SECRET-THAT-NOBODY-MAY-SEE';

/** A certificate for 127.0.0.1 and its key, as `NAME.pem` and `NAME.key` in a directory. */
export function makeCertificate(directory: string, name: string): { certificate: string; key: string } {
  const [certificate, key] = [join(directory, `${name}.pem`), join(directory, `${name}.key`)];
  const subject = ['-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1'];
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  const files = ['-keyout', key, '-out', certificate];
  execFileSync('openssl', ['req', '-x509', ...curve, ...subject, ...files], { stdio: 'ignore' });
  chmodSync(key, 0o600);
  return { certificate, key };
}

/** Writes a file that only its owner may read; its path. */
export function writeSecret(path: string, text: string): string {
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}
