/**
 * The API's server: HTTP and JSON on a Unix socket (mode 0660: root, and the group that an administrator gives
 * the socket). Who may open the socket may do everything; there is no other authentication.
 *
 * Neighbours: `schemas.ts` (bodies), `client.ts`, `control/daemon.ts` (who is asked).
 */
import { chmodSync, lstatSync, mkdirSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createConnection } from 'node:net';
import { dirname } from 'node:path';
import type { ApiHandle, GatewayControl } from '../control/daemon.ts';
import type { GatewayStatus } from '../control/gateway-status.ts';
import type { DownBody, ErrorBody } from './schemas.ts';

/** The socket's path cannot be used. */
export class ApiSocketError extends Error {
  override readonly name = 'ApiSocketError';
  readonly code = 'api_socket';
}

type Handler = (control: GatewayControl) => Promise<GatewayStatus | DownBody>;

const ROUTES: Readonly<Record<string, Readonly<Record<string, Handler>>>> = {
  '/v1/status': { GET: (control) => control.status() },
  '/v1/down': {
    POST: async (control) => {
      await control.down();
      return { down: true };
    },
  },
};

/**
 * Serves the API. A socket that a dead process has left is replaced.
 *
 * @throws ApiSocketError if somebody listens there, if something else has that name, or if it cannot be made.
 */
export async function serveApi(control: GatewayControl, socketPath: string): Promise<ApiHandle> {
  await makeRoom(socketPath);
  const server = createServer((request, response) => void answer(control, request, response));
  await listen(server, socketPath);
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeIdleConnections();
      }),
  };
}

async function answer(
  control: GatewayControl,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  // Bodies are not used; reading them keeps the connection in order.
  request.resume();
  const path = request.url?.split('?')[0] ?? '';
  const methods = Object.hasOwn(ROUTES, path) ? ROUTES[path] : undefined;
  if (methods === undefined) {
    return send(response, 404, {
      error: { code: 'not_found', message: `there is nothing at ${path}` },
    });
  }
  const method = request.method ?? '';
  if (!Object.hasOwn(methods, method)) {
    response.setHeader('allow', Object.keys(methods).join(', '));
    return send(response, 405, {
      error: { code: 'method_not_allowed', message: `${path} does not take ${method}` },
    });
  }
  try {
    send(response, 200, await methods[method]!(control));
  } catch (error) {
    send(response, 500, { error: { code: 'failed', message: (error as Error).message } });
  }
}

function send(response: ServerResponse, status: number, body: GatewayStatus | DownBody | ErrorBody): void {
  // One request a connection: the server's end waits for no idle ones.
  response.shouldKeepAlive = false;
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(`${JSON.stringify(body)}\n`);
}

function listen(server: Server, socketPath: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(new ApiSocketError(`the API cannot listen on ${socketPath}: ${error.message}`));
    });
    // The socket is made within this call: nobody finds it with a wider mode.
    const former = process.umask(0o117);
    try {
      server.listen(socketPath, () => {
        chmodSync(socketPath, 0o660);
        resolve();
      });
    } finally {
      process.umask(former);
    }
  });
}

/** Removes a socket without a listener. */
async function makeRoom(socketPath: string): Promise<void> {
  mkdirSync(dirname(socketPath), { recursive: true, mode: 0o755 });
  const status = lstatSync(socketPath, { throwIfNoEntry: false });
  if (status === undefined) return;
  if (!status.isSocket()) throw new ApiSocketError(`${socketPath} is there already and is no socket`);
  const isServed = await new Promise<boolean>((resolve) => {
    const probe = createConnection(socketPath);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
  if (isServed) {
    throw new ApiSocketError(`somebody listens on ${socketPath}: give another path as api.socket`);
  }
  rmSync(socketPath);
}
