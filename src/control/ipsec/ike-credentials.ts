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
  return readCertified(authentication.certificate);
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

function readCertified({ file, key, ca }: CertificateConfig): IpsecCredentials {
  const own = readCertificates(file);
  const secret = readSecretFile(key);
  let matches: boolean;
  try {
    matches = own[0]!.checkPrivateKey(createPrivateKey(secret));
  } catch {
    // What OpenSSL says may quote the file.
    throw new CredentialsError(`${key} is no private key as PEM without a passphrase`);
  }
  if (!matches) throw new CredentialsError(`${key} is not the key of the certificate in ${file}`);
  checkTime(own[0]!, file);
  return {
    kind: 'certificate',
    certificates: own.map(({ raw }) => raw),
    key: secret,
    authorities: ca.flatMap((path) => readCertificates(path).map(({ raw }) => raw)),
  };
}

/** No peer takes one that is not valid, and none says so. */
function checkTime({ validFrom, validTo }: X509Certificate, file: string): void {
  const now = Date.now();
  const [begin, end] = [Date.parse(validFrom), Date.parse(validTo)];
  const problem =
    now >= end
      ? `has ended ${new Date(end).toISOString()}`
      : now < begin
        ? `begins ${new Date(begin).toISOString()}`
        : undefined;
  if (problem === undefined) return;
  throw new CredentialsError(
    `the certificate in ${file} ${problem}; write one into it that is valid now, or look at the clock`,
  );
}

/**
 * The certificates in a PEM file, in their order.
 *
 * @throws CredentialsError, GivenFileError
 */
export function readCertificates(path: string): X509Certificate[] {
  const blocks = readGivenFile(path).toString('latin1').match(PEM_BLOCK);
  try {
    if (blocks !== null) return blocks.map((block) => new X509Certificate(block));
  } catch {
    // Told below.
  }
  throw new CredentialsError(`${path} holds no certificate as PEM`);
}
