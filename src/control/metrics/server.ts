/**
 * The metrics on a TCP port of their own (`metrics.listen`), for Prometheus: `GET /metrics`, and nothing else. There
 * is no authentication: who reaches the port may read, and nobody can change anything.
 *
 * Neighbours: `telemetry.ts`. The API serves the same text on its socket (`api/routes/metrics.ts`).
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { SocketAddress } from '../config/config.ts';
import { EXPOSITION_TYPE } from './exposition.ts';

const MAX_CONNECTIONS = 32;
/** For a whole request; scrapers are in a hurry. */
const REQUEST_TIMEOUT_MS = 5000;

export class MetricsServer {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  /**
   * Serves what `metrics` makes, once for every request.
   *
   * @throws Error if the address cannot be listened on
   */
  static async start(listen: SocketAddress, metrics: () => string): Promise<MetricsServer> {
    const server = createServer((request, response) => answer(request, response, metrics));
    server.maxConnections = MAX_CONNECTIONS;
    server.headersTimeout = REQUEST_TIMEOUT_MS;
    server.requestTimeout = REQUEST_TIMEOUT_MS;
    server.keepAliveTimeout = REQUEST_TIMEOUT_MS;
    server.on('clientError', (_, socket) => (socket as Socket).destroy());
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: listen.address, port: listen.port, exclusive: true }, () => {
        server.off('error', reject);
        resolve();
      });
    });
    return new MetricsServer(server);
  }

  /** Ends at once; a scrape that is under way is cut off. */
  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }
}

function answer(request: IncomingMessage, response: ServerResponse, metrics: () => string): void {
  request.resume();
  response.setHeader('cache-control', 'no-store');
  if (request.url?.split('?')[0] !== '/metrics') {
    refuse(response, 404, 'only /metrics is here');
  } else if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('allow', 'GET, HEAD');
    refuse(response, 405, `/metrics does not take ${request.method}`);
  } else {
    const text = Buffer.from(metrics(), 'utf8');
    response.writeHead(200, { 'content-type': EXPOSITION_TYPE, 'content-length': text.length });
    response.end(request.method === 'HEAD' ? undefined : text);
  }
}

function refuse(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' });
  response.end(`${text}\n`);
}
