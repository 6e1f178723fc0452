import assert from 'node:assert/strict';
import { linkSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { EXAMPLE_STATUS } from '../../test/fixtures/example-status.ts';
import { stubControl } from '../../test/support/stub-control.ts';
import type { ApiHandle, GatewayControl } from '../control/daemon.ts';
import type { GatewayStatus } from '../control/gateway-status.ts';
import { ApiClient } from './client.ts';
import { statusSchema } from './schemas/gateway.ts';
import { problemSchema } from './schemas/problem.ts';
import { ApiSocketError, serveApi } from './server.ts';

/** What may be unknown is. */
const STATUS: GatewayStatus = {
  ...EXAMPLE_STATUS,
  dataPlane: { ...EXAMPLE_STATUS.dataPlane, version: null, uptimeMs: null },
  tunnels: EXAMPLE_STATUS.tunnels.map((tunnel) => ({ ...tunnel, driver: null, health: null })),
  egresses: [],
};

function socketPath(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'homeward-test-'));
  t.after(() => rmSync(directory, { recursive: true }));
  return join(directory, 'run', 'api.sock');
}

/** Answers are held against their schemas. */
function serve(control: GatewayControl, socketPath: string): Promise<ApiHandle> {
  return serveApi(control, { socketPath, checkAnswers: true });
}

const control = stubControl({ status: async () => STATUS, down: async () => {} });

function ask(socketPath: string, method: string, path: string): Promise<{ status: number; body: unknown }> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath, method, path }, (incoming) => {
      let text = '';
      incoming.on('data', (chunk: Buffer) => {
        text += chunk.toString();
      });
      incoming.on('end', () => resolve({ status: incoming.statusCode!, body: JSON.parse(text) }));
    });
    outgoing.on('error', reject).end();
  });
}

test('the status, whole and as its schema says, on a socket for the group', async (t) => {
  const path = socketPath(t);
  const server = await serve(control, path);
  t.after(() => server.close());
  const answer = await new ApiClient(path, 2000).status();
  assert.deepEqual(answer, STATUS);
  assert.deepEqual(statusSchema.parse(answer), STATUS);
  assert.equal(statSync(path).mode & 0o777, 0o660);
});

test('errors have a code and words', async (t) => {
  const path = socketPath(t);
  const server = await serve(stubControl({ status: () => Promise.reject(new Error('broken')) }), path);
  t.after(() => server.close());
  for (const [method, target, status, code] of [
    ['GET', '/v1/nothing', 404, 'not_found'],
    ['GET', '/v1/__proto__', 404, 'not_found'],
    ['POST', '/v1/status', 405, 'method_not_allowed'],
    ['GET', '/v1/down', 405, 'method_not_allowed'],
    ['GET', '/v1/status?x=1', 400, 'bad_request'],
    ['GET', '/v1/status', 500, 'failed'],
  ] as const) {
    const answer = await ask(path, method, target);
    assert.deepEqual([answer.status, problemSchema.parse(answer.body).code], [status, code], target);
  }
});

test('down is answered when it is done, and closing waits for that', async (t) => {
  const path = socketPath(t);
  const steps: string[] = [];
  const done = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  const server = await serve(
    stubControl({
      down: () => {
        asked.resolve();
        return done.promise;
      },
    }),
    path,
  );
  const answered = new ApiClient(path, 5000).down().then(() => steps.push('answered'));
  await asked.promise;
  const closed = server.close().then(() => steps.push('closed'));
  steps.push('done');
  done.resolve();
  await Promise.all([answered, closed]);
  assert.equal(steps[0], 'done');
  assert.deepEqual(steps.toSorted(), ['answered', 'closed', 'done']);
});

test('a socket that somebody serves, or another file, is left alone; a dead one is replaced', async (t) => {
  const path = socketPath(t);
  const first = await serve(control, path);
  await assert.rejects(serve(control, path), ApiSocketError);
  assert.deepEqual(await new ApiClient(path, 2000).status(), STATUS);
  await first.close();

  writeFileSync(path, '');
  await assert.rejects(serve(control, path), /is no socket/);
  rmSync(path);

  const dead = createServer().listen(path);
  await new Promise((resolve) => dead.once('listening', resolve));
  // Closing would remove the file: it is kept by another name meanwhile.
  linkSync(path, `${path}.kept`);
  await new Promise((resolve) => dead.close(resolve));
  linkSync(`${path}.kept`, path);
  const second = await serve(control, path);
  assert.deepEqual(await new ApiClient(path, 2000).status(), STATUS);
  await second.close();
});
