/**
 * Secrets and certificates of `ipsec` tunnels, read from where the configuration says. They are handed to the IKE daemon
 * and to nobody else: no message here repeats what was read.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import type { IpsecCredentials } from '../../tunnel/ipsec/connection.ts';
import type { CertificateConfig, IkeConfig, SecretPlace } from '../config/ipsec-config.ts';
import { readGivenFile, readSecretFile } from '../given-file.ts';

const PEM_BLOCK = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g;

/** Something that is needed to authenticate is missing or wrong; the message names the place. */
export class CredentialsError extends Error {
  override readonly name = 'CredentialsError';
  readonly code = 'credentials';
}

/**
 * Reads what authenticates a tunnel.
 *
 * @throws CredentialsError, GivenFileError
 */
export function readIkeCredentials(
  { authentication }: IkeConfig,
  environment: NodeJS.ProcessEnv = process.env,
): IpsecCredentials {
  if (authentication.kind === 'psk') {
    return { kind: 'psk', secret: readSecret(authentication.secret, environment) };
  }
  return readCertificates(authentication.certificate);
}

/** When our certificate ends, milliseconds since 1970; undefined with a pre-shared key, or if it cannot be read. */
export function certificateEnd({ authentication }: IkeConfig): number | undefined {
  if (authentication.kind === 'psk') return undefined;
  try {
    const [own] = certificatesOf(authentication.certificate.file);
    return Date.parse(own!.validTo);
  } catch {
    return undefined;
  }
}

function readSecret(place: SecretPlace, environment: NodeJS.ProcessEnv): Uint8Array {
  if ('env' in place) {
    const value = environment[place.env];
    if (value === undefined || value === '') {
      throw new CredentialsError(
        `the environment has no ${place.env}; set it for the service, or write file`,
      );
    }
    return Buffer.from(value, 'utf8');
  }
  const content = readSecretFile(place.file);
  // Editors and `echo` end the last line.
  const end = content.at(-1) === 0x0a ? (content.at(-2) === 0x0d ? -2 : -1) : undefined;
  const secret = content.subarray(0, end);
  if (secret.length === 0) throw new CredentialsError(`${place.file} is empty; write the secret into it`);
  return secret;
}

function readCertificates({ file, key, ca }: CertificateConfig): IpsecCredentials {
  const own = certificatesOf(file);
  const secret = readSecretFile(key);
  let matches: boolean;
  try {
    matches = own[0]!.checkPrivateKey(createPrivateKey(secret));
  } catch {
    // What OpenSSL says may quote the file.
    throw new CredentialsError(`${key} is no private key as PEM without a passphrase`);
  }
  if (!matches) throw new CredentialsError(`${key} is not the key of the certificate in ${file}`);
  return {
    kind: 'certificate',
    certificates: own.map(({ raw }) => raw),
    key: secret,
    authorities: ca.flatMap((path) => certificatesOf(path).map(({ raw }) => raw)),
  };
}

function certificatesOf(path: string): X509Certificate[] {
  const blocks = readGivenFile(path).toString('latin1').match(PEM_BLOCK);
  try {
    if (blocks !== null) return blocks.map((block) => new X509Certificate(block));
  } catch {
    // Told below.
  }
  throw new CredentialsError(`${path} holds no certificate as PEM`);
}
