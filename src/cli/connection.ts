/**
 * Which gateway a command is for: the one of this network namespace, one whose socket or configuration is named, or one on
 * the network, which is asked with TLS and a token.
 *
 * | | flag | environment |
 * | --- | --- | --- |
 * | where | `--gateway` | `HOMEWARD_GATEWAY` |
 * | who asks | `--token-file` | `HOMEWARD_TOKEN_FILE` |
 * | whom to trust | `--ca-file` | `HOMEWARD_CA_FILE` |
 *
 * Flags come first; `--socket` and `--config` mean this host, whatever the environment says. There is no flag for the token
 * itself: everybody could read it in the list of processes.
 */
import { statSync } from 'node:fs';
import { Flags } from '@oclif/core';
import type { Endpoint, NetworkEndpoint } from '../api/endpoint.ts';
import { readNamedFile } from './given-file.ts';
import { cliServices } from './services.ts';
import { wrongUsage } from './wrong-usage.ts';

/** Where the API of a gateway listens if its address has no port: that of HTTPS. */
const DEFAULT_PORT = 443;

/** Flags of commands that speak to a running gateway. */
export const CONNECTION_FLAGS = {
  config: Flags.string({
    helpValue: 'FILE',
    summary: 'Take the socket from this configuration, where it sets api.socket.',
    exclusive: ['socket', 'gateway'],
  }),
  socket: Flags.string({ helpValue: 'PATH', summary: "The gateway's API socket.", exclusive: ['gateway'] }),
  gateway: Flags.string({
    helpValue: 'URL',
    summary: 'A gateway on the network, such as https://gw1.example:9443; or HOMEWARD_GATEWAY.',
  }),
  'token-file': Flags.string({
    helpValue: 'FILE',
    summary: 'With --gateway: the file with the token; or HOMEWARD_TOKEN_FILE.',
  }),
  'ca-file': Flags.string({
    helpValue: 'FILE',
    summary: 'With --gateway: who signs its certificate (PEM); or HOMEWARD_CA_FILE.',
  }),
  timeout: Flags.string({
    helpValue: 'DURATION',
    summary: 'How long to wait for an answer.',
    default: '30s',
    parse: async (text) => {
      if (cliServices().readDuration(text)) return text;
      throw wrongUsage(`--timeout: ${text} is not a duration above zero; write one such as 30s`);
    },
  }),
};

export interface ConnectionFlagValues {
  readonly config?: string | undefined;
  readonly socket?: string | undefined;
  readonly gateway?: string | undefined;
  readonly 'token-file'?: string | undefined;
  readonly 'ca-file'?: string | undefined;
  readonly timeout: string;
}

/** @throws an error of wrong usage that names the flag. */
export async function endpointOf(
  flags: ConnectionFlagValues,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<Endpoint> {
  const isLocal = flags.socket !== undefined || flags.config !== undefined;
  const gateway = flags.gateway ?? (isLocal ? undefined : environment.HOMEWARD_GATEWAY || undefined);
  if (gateway !== undefined) return networkEndpoint(gateway, flags, environment);
  for (const flag of ['token-file', 'ca-file'] as const) {
    if (flags[flag] !== undefined) throw wrongUsage(`--${flag} is for a gateway on the network: --gateway`);
  }
  return { kind: 'socket', path: flags.socket ?? (await cliServices().apiSocketPath(flags.config)) };
}

function networkEndpoint(
  gateway: string,
  flags: ConnectionFlagValues,
  environment: NodeJS.ProcessEnv,
): NetworkEndpoint {
  const url = URL.parse(gateway);
  const isBare = url !== null && url.pathname === '/' && url.search === '' && url.hash === '';
  if (!isBare || url.protocol !== 'https:' || url.username !== '' || url.password !== '') {
    throw wrongUsage(`--gateway: ${gateway} is not the place of an API; write one such as https://gw1:9443`);
  }
  const tokenFile = flags['token-file'] ?? (environment.HOMEWARD_TOKEN_FILE || undefined);
  if (tokenFile === undefined) {
    throw wrongUsage(
      '--gateway needs a token: write it into a file, and name that by --token-file or HOMEWARD_TOKEN_FILE',
    );
  }
  const authorityFile = flags['ca-file'] ?? (environment.HOMEWARD_CA_FILE || undefined);
  return {
    kind: 'network',
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: url.port === '' ? DEFAULT_PORT : Number(url.port),
    token: readToken(tokenFile),
    ...(authorityFile === undefined ? {} : { authorities: readNamedFile(authorityFile, '--ca-file: ') }),
  };
}

function readToken(path: string): string {
  const token = readNamedFile(path, '--token-file: ').trim();
  if ((statSync(path).mode & 0o007) !== 0) {
    throw wrongUsage(`--token-file: everybody may use ${path}; do "chmod o= ${path}"`);
  }
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw wrongUsage(`--token-file: ${path} holds no token: printable characters without spaces`);
}
