/**
 * The API's sockets: HTTP and JSON on a Unix socket. Who may open it may do everything: root, and the members of
 * the group `homeward` where the host has one (mode 0660).
 *
 * Neighbours: `app.ts` (what is served), `unix-socket.ts` (how the socket is made), `client.ts`,
 * `control/daemon.ts` (who is asked).
 */
import type { FastifyInstance } from 'fastify';
import type { ApiHandle, ApiServerOptions, GatewayControl } from '../control/daemon.ts';
import { type AppOptions, makeApp } from './app.ts';
import { ApiSocketError, listenOnSocket } from './unix-socket.ts';

export { ApiSocketError };

/** Connections at a time; each takes one request. */
const MAX_CONNECTIONS = 256;
/** For a whole request to arrive. */
const REQUEST_TIMEOUT_MS = 30_000;

/** What tests want different. */
export type ServeOptions = ApiServerOptions & Pick<AppOptions, 'checkAnswers'>;

/**
 * Serves the API until the handle is closed. A socket that a dead process has left is replaced.
 *
 * @throws ApiSocketError if somebody listens there, if something else has that name, or if it cannot be made.
 */
export async function serveApi(control: GatewayControl, options: ServeOptions): Promise<ApiHandle> {
  const ending = new AbortController();
  const app = makeApp(control, {
    ending: ending.signal,
    checkAnswers: options.checkAnswers ?? false,
    onFailure: (error, operation) => {
      options.logger?.error({ operation, error: String(error) }, 'an API request failed');
    },
  });
  await app.ready();
  bound(app);
  await listenOnSocket(app.server, options.socketPath, options.runtimeDirectory);
  return {
    close: async () => {
      ending.abort();
      await closed(app);
    },
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
