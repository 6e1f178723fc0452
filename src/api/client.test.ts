import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createRawServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { EXAMPLE_STATUS } from '../../test/fixtures/example-status.ts';
import { stubControl } from '../../test/support/stub-control.ts';
import { ApiClient, ApiError } from './client.ts';
import { serveApi } from './server.ts';

const directory = mkdtempSync(join(tmpdir(), 'homeward-client-'));
after(() => rmSync(directory, { recursive: true, force: true }));
let sockets = 0;

function newSocket(): string {
  return join(directory, `${sockets++}.sock`);
}

/** What a client gets from a server that answers like this. */
async function against<T>(listener: RequestListener, ask: (client: ApiClient) => Promise<T>): Promise<T> {
  const path = newSocket();
  const server: Server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(path, resolve));
  try {
    return await ask(new ApiClient(path, 5000));
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

function isApiError(code: string, message: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof ApiError, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, message);
    return true;
  };
}

test('status and down reach the server of this project', async () => {
  const path = newSocket();
  let downs = 0;
  const control = stubControl({
    status: async () => EXAMPLE_STATUS,
    down: async () => {
      downs++;
    },
  });
  const server = await serveApi(control, { socketPath: path });
  try {
    const client = new ApiClient(path, 5000);
    assert.deepEqual(await client.status(), EXAMPLE_STATUS);
    await client.down();
    assert.equal(downs, 1);
  } finally {
    await server.close();
  }
});

test('a server that fails says why', async () => {
  const path = newSocket();
  const fail = async (): Promise<never> => {
    throw new Error('nft is not there');
  };
  const server = await serveApi(stubControl({ status: fail, down: fail }), { socketPath: path });
  try {
    const client = new ApiClient(path, 5000);
    await assert.rejects(
      client.down(),
      isApiError('refused', /^the gateway refused \(500\): nft is not there$/),
    );
  } finally {
    await server.close();
  }
});

test('nobody there', async () => {
  const client = new ApiClient(join(directory, 'nobody.sock'), 5000);
  await assert.rejects(client.status(), isApiError('not_running', /^no gateway listens on .*nobody\.sock; /));
});

test('a server that never answers', async () => {
  const path = newSocket();
  const silent = createRawServer(() => {});
  await new Promise<void>((resolve) => silent.listen(path, resolve));
  try {
    await assert.rejects(new ApiClient(path, 50).status(), isApiError('timeout', /within 50 ms$/));
  } finally {
    silent.close();
  }
});

test('answers of something else are refused', async () => {
  const answers: [what: string, listener: RequestListener][] = [
    ['no JSON', (_, response) => response.end('<html>')],
    ['no status', (_, response) => response.end('{"gateway":7}')],
  ];
  for (const [what, listener] of answers) {
    await assert.rejects(
      against(listener, (client) => client.status()),
      isApiError('bad_answer', /is not homeward's/),
      what,
    );
  }
});

test('a gateway that ends while it is asked leaves open what it has done', async () => {
  const ends: [what: string, listener: RequestListener][] = [
    [
      'within the answer',
      (_, response) => {
        response.writeHead(200, { 'content-length': 100 });
        response.write('{', () => response.socket?.destroy());
      },
    ],
    ['before it', (request) => request.socket.destroy()],
  ];
  for (const [what, listener] of ends) {
    await assert.rejects(
      against(listener, (client) => client.status()),
      isApiError('cut_off', /hung up before the answer was there; see what runs now/),
      what,
    );
  }
});

test('an endless answer is cut off', async () => {
  const endless: RequestListener = (_, response) => {
    const part = Buffer.alloc(1024 * 1024, 0x20);
    const write = (): void => {
      while (!response.destroyed && response.write(part)) {
        // Until the socket is full.
      }
      response.once('drain', write);
    };
    write();
  };
  await assert.rejects(
    against(endless, (client) => client.status()),
    isApiError('bad_answer', /more than it may be/),
  );
});
