/**
 * The API's sockets: HTTP and JSON on a Unix socket, and if the configuration says so on TCP.
 *
 * | | who may | how it is known |
 * | --- | --- | --- |
 * | Unix socket, mode 0660 | root, and the members of the group `homeward`: everything | by the file system |
 * | TCP with TLS | who has a token: what its role may | `network-access.ts`; never without |
 *
 * Neighbours: `app.ts` (what is served), `unix-socket.ts` (how the socket is made), `client.ts`,
 * `control/daemon.ts` (who is asked).
 */
import { createServer } from 'node:https';
import type { FastifyInstance } from 'fastify';
import type { ApiListenConfig } from '../control/config/config.ts';
import type { ApiHandle, ApiServerOptions, GatewayControl } from '../control/daemon.ts';
import { type AppOptions, makeApp } from './app.ts';
import { shareConnections } from './connection-shares.ts';
import { ApiListenError, type NetworkAccess, readNetworkAccess } from './network-access.ts';
import { ApiSocketError, listenOnSocket } from './unix-socket.ts';

export { ApiListenError, ApiSocketError };

/** Connections at a time; each takes one request. */
const MAX_CONNECTIONS = 256;
/** And from one source on the network. */
const MAX_CONNECTIONS_OF_ONE = 32;
/** For a whole request to arrive. */
const REQUEST_TIMEOUT_MS = 30_000;
const HANDSHAKE_TIMEOUT_MS = 10_000;
/** Wrong tokens are logged that often at most. */
const REFUSAL_LOG_MS = 10_000;

/** What tests want different. */
export type ServeOptions = ApiServerOptions & Pick<AppOptions, 'checkAnswers'>;

/**
 * Serves the API until the handle is closed. A socket that a dead process has left is replaced.
 *
 * @throws ApiSocketError if somebody listens there, if something else has that name, or if it cannot be made.
 * @throws ApiListenError if it cannot be served on the network.
 */
export async function serveApi(control: GatewayControl, options: ServeOptions): Promise<ApiHandle> {
  const ending = new AbortController();
  const common: AppOptions = {
    ending: ending.signal,
    checkAnswers: options.checkAnswers ?? false,
    onFailure: (error, operation) => {
      options.logger?.error({ operation, error: String(error) }, 'an API request failed');
    },
  };
  const app = makeApp(control, common);
  let network: NetworkServer | undefined;
  try {
    await app.ready();
    if (options.listen) network = await serveNetwork(control, options.listen, options, common);
    bound(app);
    await listenOnSocket(app.server, options.socketPath, options.runtimeDirectory);
  } catch (error) {
    await Promise.all([closed(app), network?.close()]);
    throw error;
  }
  return {
    reload: () => network?.reload(),
    close: async () => {
      ending.abort();
      await Promise.all([closed(app), network?.close()]);
    },
  };
}

interface NetworkServer {
  reload(): void;
  close(): Promise<void>;
}

/** HTTPS, for who has a token. */
async function serveNetwork(
  control: GatewayControl,
  config: ApiListenConfig,
  { logger }: ServeOptions,
  common: AppOptions,
): Promise<NetworkServer> {
  let access: NetworkAccess = readNetworkAccess(config);
  let refused = 0;
  let loggedAt = Number.NEGATIVE_INFINITY;
  const app = makeApp(control, {
    ...common,
    authenticate: (request) => {
      try {
        return access.authenticate(request.headers);
      } catch (error) {
        refused++;
        if (performance.now() - loggedAt >= REFUSAL_LOG_MS) {
          loggedAt = performance.now();
          logger?.warn({ from: request.ip, refused }, 'the API was asked without a valid token');
          refused = 0;
        }
        throw error;
      }
    },
    serverFactory: (handler) => {
      const options = {
        ...access.tls,
        minVersion: 'TLSv1.2',
        handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      } as const;
      return createServer(options, handler);
    },
  });
  await app.ready();
  bound(app);
  const server = app.server as ReturnType<typeof createServer>;
  shareConnections(server, MAX_CONNECTIONS_OF_ONE);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: config.address, port: config.port }, resolve);
    });
  } catch (error) {
    await closed(app);
    const why = (error as Error).message;
    throw new ApiListenError(`the API cannot listen on ${config.address} port ${config.port}: ${why}`);
  }
  // Handshakes that fail are the other side's affair.
  server.on('tlsClientError', (_, socket) => socket.destroy());
  logger?.info({ address: config.address, port: config.port }, 'the API listens on the network');
  return {
    reload: () => {
      try {
        access = readNetworkAccess(config);
        server.setSecureContext(access.tls);
      } catch (error) {
        logger?.error({ error: (error as Error).message }, 'the former certificate and tokens stay');
      }
    },
    close: () => closed(app),
  };
}

function bound(app: FastifyInstance): void {
  app.server.maxConnections = MAX_CONNECTIONS;
  app.server.requestTimeout = REQUEST_TIMEOUT_MS;
}

/** Takes no more connections; resolves when the running requests are answered. */
async function closed(app: FastifyInstance): Promise<void> {
  await new Promise<void>((resolve) => {
    app.server.close(() => resolve());
    app.server.closeIdleConnections();
  });
  await app.close();
}
