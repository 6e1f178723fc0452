/**
 * The certificate that a peer has shown, among those that its daemon has in memory: the daemon does not say which one it
 * was.
 */
import { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import type { Certificate } from '../../vici/views.ts';

export interface PeerCertificate {
  /** On one line. */
  readonly subject: string;
  /** Milliseconds since 1970. */
  readonly notAfterMs: number;
}

/** Of those that are for this identity, the one that ends last; else the only one. undefined: it is not known. */
export function peerCertificate(
  certificates: readonly Certificate[],
  identity: string,
): PeerCertificate | undefined {
  const shown = certificates
    .filter(({ type, flag, hasPrivateKey }) => type === 'X509' && flag !== 'CA' && !hasPrivateKey)
    .flatMap(({ data }) => readCertificate(data));
  const named = shown.filter((certificate) => isFor(certificate, identity));
  const found = named.length > 0 || shown.length > 1 ? named : shown;
  const [last] = found
    .map(({ subject, validTo }) => ({ subject: onOneLine(subject), notAfterMs: Date.parse(validTo) }))
    .sort((a, b) => b.notAfterMs - a.notAfterMs);
  return last;
}

/** `CN=a\nO=b` is how Node has it. */
export function onOneLine(subject: string): string {
  return subject.split('\n').join(', ');
}

function readCertificate(data: Uint8Array): X509Certificate[] {
  try {
    return [new X509Certificate(data)];
  } catch {
    return [];
  }
}

function isFor(certificate: X509Certificate, identity: string): boolean {
  if (isIP(identity) !== 0) return certificate.checkIP(identity) !== undefined;
  if (identity.includes('=')) return sameParts(onOneLine(certificate.subject), identity);
  if (identity.includes('@')) return certificate.checkEmail(identity.replace(/^@/, '')) !== undefined;
  // A name is one alternative name, whatever it may stand for elsewhere.
  return (certificate.subjectAltName ?? '').split(', ').includes(`DNS:${identity}`);
}

/** Whether two distinguished names have the same parts; how they are spaced says nothing. */
function sameParts(one: string, other: string): boolean {
  const parts = (name: string): string =>
    name
      .split(',')
      .map((part) => part.trim())
      .sort()
      .join();
  return parts(one) === parts(other);
}
