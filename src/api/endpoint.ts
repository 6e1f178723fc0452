/**
 * Where a gateway's API is: a Unix socket of this host, or a TCP port with TLS and a token (`network-access.ts` has the
 * server's side).
 *
 * Neighbours: `client.ts` asks there; the command line finds out where (`cli/connection.ts`).
 */
import { type ClientRequest, type RequestOptions, request } from 'node:http';
import { request as secureRequest } from 'node:https';

export interface SocketEndpoint {
  readonly kind: 'socket';
  readonly path: string;
}

export interface NetworkEndpoint {
  readonly kind: 'network';
  readonly host: string;
  readonly port: number;
  readonly token: string;
  /** The authorities to trust, as PEM; absent: those that Node trusts. */
  readonly authorities?: string;
}

export type Endpoint = SocketEndpoint | NetworkEndpoint;

/** Why nobody could be asked. The text is a sentence for people. */
export interface UnreachableReason {
  readonly code: 'not_running' | 'no_permission' | 'not_trusted';
  readonly text: string;
}

/** What messages call it; never with its token. */
export function endpointName(endpoint: Endpoint): string {
  if (endpoint.kind === 'socket') return endpoint.path;
  const { host, port } = endpoint;
  return `https://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** Begins a request there. */
export function requestTo(endpoint: Endpoint, options: RequestOptions): ClientRequest {
  if (endpoint.kind === 'socket') return request({ ...options, socketPath: endpoint.path });
  const { host, port, token, authorities } = endpoint;
  return secureRequest({
    ...options,
    host,
    port,
    headers: { ...options.headers, authorization: `Bearer ${token}` },
    minVersion: 'TLSv1.2',
    ...(authorities === undefined ? {} : { ca: authorities }),
  });
}

const ABSENT = ['ENOENT', 'ECONNREFUSED'];
const UNREACHABLE = [
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ETIMEDOUT',
  'ECONNRESET',
];
/** What OpenSSL and Node find wrong with a certificate; among many others these are common. */
const CERTIFICATE = /CERT|SELF_SIGNED|VERIFY|ISSUER/;

/** What a failed request says of the endpoint; undefined: nothing. */
export function unreachable(endpoint: Endpoint, error: NodeJS.ErrnoException): UnreachableReason | undefined {
  const name = endpointName(endpoint);
  const code = error.code ?? '';
  if (endpoint.kind === 'socket') {
    if (ABSENT.includes(code)) {
      return {
        code: 'not_running',
        text: `no gateway listens on ${name}; start one with "homeward run", or ask in its network namespace`,
      };
    }
    if (code === 'EINVAL' || code === 'ENAMETOOLONG') {
      return { code: 'not_running', text: `${name} is too long for a socket; a path has at most 107 bytes` };
    }
    if (code !== 'EACCES' && code !== 'EPERM') return undefined;
    return {
      code: 'no_permission',
      text: `no permission for ${name}: run as root, or as a member of the group homeward`,
    };
  }
  if (CERTIFICATE.test(code)) {
    return {
      code: 'not_trusted',
      text: `the certificate of ${name} is not trusted: ${error.message}; --ca-file names who signed it`,
    };
  }
  if (!UNREACHABLE.includes(code)) return undefined;
  return {
    code: 'not_running',
    text: `no gateway answers at ${name} (${code}); its configuration says in api.listen where it does`,
  };
}
