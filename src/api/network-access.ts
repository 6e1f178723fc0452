/**
 * Who may use the API over the network: bearer tokens (RFC 6750) of two roles, and the server's own certificate. All
 * are read from files; none is ever printed, logged or returned.
 *
 * A token is compared by its hash and in constant time, with every one that there is: how long that takes says nothing
 * about any of them.
 */
import { createHash, timingSafeEqual, X509Certificate } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { createSecureContext } from 'node:tls';
import type { ApiListenConfig } from '../control/config/config.ts';
import { readGivenFile, readSecretFile } from '../control/given-file.ts';
import { RequestError } from '../control/request-error.ts';
import type { Caller, Role } from './operation.ts';

/** Short tokens can be guessed. */
const MIN_TOKEN_LENGTH = 32;

/** The API cannot be served on the network: a file is missing, unreadable, unsafe or wrong. */
export class ApiListenError extends Error {
  override readonly name = 'ApiListenError';
  readonly code = 'api_listen';
}

interface Token {
  readonly name: string;
  readonly role: Role;
  readonly hash: Buffer;
}

export interface NetworkAccess {
  readonly tls: { readonly cert: Buffer; readonly key: Buffer };
  /**
   * Who asks.
   *
   * @throws RequestError `unauthorized`
   */
  authenticate(headers: IncomingHttpHeaders): Caller;
}

/** @throws ApiListenError that names the file */
export function readNetworkAccess(config: ApiListenConfig): NetworkAccess {
  const cert = read(readGivenFile, config.certificate, 'certificate');
  const key = read(readSecretFile, config.key, 'key');
  try {
    new X509Certificate(cert);
    createSecureContext({ cert, key });
  } catch {
    // What OpenSSL says may quote the file.
    throw new ApiListenError(
      `api.listen: ${config.certificate} and ${config.key} are not a certificate and its key, both as PEM`,
    );
  }
  const tokens = config.tokens.map(({ name, role, file }): Token => {
    const token = read(readSecretFile, file, `token ${name}`).toString('utf8').trim();
    if (token.length < MIN_TOKEN_LENGTH || !/^[\x21-\x7e]+$/.test(token)) {
      throw new ApiListenError(
        `api.listen: ${file} holds no token of at least ${MIN_TOKEN_LENGTH} printable characters without spaces; write one with "openssl rand -hex 32 > ${file}"`,
      );
    }
    return { name, role, hash: hashOf(token) };
  });
  const twice = tokens.find((token, at) => tokens.findIndex(({ hash }) => hash.equals(token.hash)) !== at);
  if (twice !== undefined) {
    throw new ApiListenError(`api.listen: token ${twice.name} is the same as another one`);
  }
  return { tls: { cert, key }, authenticate: (headers) => authenticate(tokens, headers) };
}

function authenticate(tokens: readonly Token[], { authorization = '' }: IncomingHttpHeaders): Caller {
  const given = /^Bearer +([\x21-\x7e]+) *$/i.exec(authorization)?.[1];
  const hash = hashOf(given ?? '');
  let found: Token | undefined;
  for (const token of tokens) if (timingSafeEqual(token.hash, hash)) found = token;
  if (given === undefined || found === undefined) {
    throw new RequestError(
      'unauthorized',
      'unauthorized',
      'a valid token is needed: Authorization: Bearer TOKEN',
    );
  }
  return { token: found.name, role: found.role };
}

function hashOf(token: string): Buffer {
  return createHash('sha256').update(token, 'utf8').digest();
}

/** @throws ApiListenError that names the file and what it is for */
function read(reader: typeof readGivenFile, path: string, what: string): Buffer {
  try {
    return reader(path);
  } catch (error) {
    throw new ApiListenError(`api.listen: the ${what}: ${(error as Error).message}`);
  }
}
