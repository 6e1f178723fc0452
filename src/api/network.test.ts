/** The API on TCP: TLS and tokens, or nothing. */
import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request as plainRequest } from 'node:http';
import { request } from 'node:https';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { FastifyInstance } from 'fastify';
import { EXAMPLE_STATUS } from '../../test/fixtures/example-status.ts';
import { eventually } from '../../test/support/patience.ts';
import { stubControl } from '../../test/support/stub-control.ts';
import { makeCertificate, writeSecret } from '../../test/support/tls-files.ts';
import type { ApiListenConfig } from '../control/config/config.ts';
import type { ApiHandle } from '../control/daemon.ts';
import { ApiListenError } from './network-access.ts';
import { problemSchema } from './schemas/problem.ts';
import { serveApi } from './server.ts';

const directory = mkdtempSync(join(tmpdir(), 'homeward-network-'));
const READ = 'r'.repeat(40);
const ADMIN = 'a'.repeat(40);
let config: ApiListenConfig;
let server: ApiHandle;
let downs = 0;

const secret = (name: string, text: string): string => writeSecret(join(directory, name), text);

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => resolve(port));
    });
  });
}

function ask(
  method: string,
  path: string,
  authorization: string | undefined,
): Promise<{ status: number; challenge: string | undefined; body: unknown; issuer: string }> {
  return new Promise((resolve, reject) => {
    const ca = readFileSync(config.certificate);
    const headers = authorization === undefined ? {} : { authorization };
    const options = { host: '127.0.0.1', port: config.port, method, path, ca, headers, agent: false };
    const outgoing = request(options, (incoming) => {
      const issuer = (incoming.socket as import('node:tls').TLSSocket).getPeerCertificate().issuer
        .CN as string;
      let text = '';
      incoming.on('data', (part: Buffer) => {
        text += part.toString();
      });
      incoming.on('end', () =>
        resolve({
          status: incoming.statusCode!,
          challenge: incoming.headers['www-authenticate'],
          body: JSON.parse(text),
          issuer,
        }),
      );
    });
    outgoing.on('error', reject).end();
  });
}

before(async () => {
  config = {
    address: '127.0.0.1',
    port: await freePort(),
    ...makeCertificate(directory, 'first'),
    tokens: [
      { name: 'monitoring', role: 'read', file: secret('read', `${READ}\n`) },
      { name: 'operator', role: 'admin', file: secret('admin', `${ADMIN}\n`) },
    ],
  };
  const control = stubControl({
    status: async () => EXAMPLE_STATUS,
    down: async () => {
      downs++;
    },
  });
  server = await serveApi(control, { socketPath: join(directory, 'api.sock'), listen: config });
});

after(async () => {
  await server.close();
  rmSync(directory, { recursive: true, force: true });
});

test('what each role may', async () => {
  const cases: [
    method: string,
    path: string,
    authorization: string | undefined,
    status: number,
    code?: string,
  ][] = [
    ['GET', '/v1/status', `Bearer ${READ}`, 200],
    ['GET', '/v1/status', `bearer  ${ADMIN}`, 200],
    ['GET', '/v1/openapi.json', `Bearer ${READ}`, 200],
    ['POST', '/v1/down', `Bearer ${READ}`, 403, 'forbidden'],
    ['POST', '/v1/down?validate_only=true', `Bearer ${ADMIN}`, 200],
    ['GET', '/v1/nothing', `Bearer ${READ}`, 404, 'not_found'],
    ['GET', '/v1/status', undefined, 401, 'unauthorized'],
    ['GET', '/v1/openapi.json', undefined, 401, 'unauthorized'],
    ['GET', '/v1/nothing', undefined, 401, 'unauthorized'],
    ['POST', '/v1/status', undefined, 401, 'unauthorized'],
    ['GET', '/v1/status', 'Bearer', 401, 'unauthorized'],
    ['GET', '/v1/status', `Bearer ${READ}x`, 401, 'unauthorized'],
    ['GET', '/v1/status', `Bearer ${READ.slice(1)}`, 401, 'unauthorized'],
    ['GET', '/v1/status', `Basic ${READ}`, 401, 'unauthorized'],
    ['GET', '/v1/status', `Bearer ${READ} ${ADMIN}`, 401, 'unauthorized'],
  ];
  for (const [method, path, authorization, status, code] of cases) {
    const answer = await ask(method, path, authorization);
    const where = `${method} ${path} ${authorization}`;
    assert.equal(answer.status, status, where);
    if (code !== undefined) assert.equal(problemSchema.parse(answer.body).code, code, where);
    assert.equal(answer.challenge !== undefined, status === 401, where);
  }
  assert.equal(downs, 0);
});

test('nothing is answered without TLS', async () => {
  const answered = await new Promise<boolean>((resolve) => {
    const outgoing = plainRequest({ host: '127.0.0.1', port: config.port, path: '/v1/status' }, () =>
      resolve(true),
    );
    outgoing.on('error', () => resolve(false)).end();
  });
  assert.equal(answered, false);
});

test('nobody without a token holds all connections', async () => {
  const held = await Promise.all(
    Array.from({ length: 300 }, async () => {
      const socket = connect({ host: '127.0.0.1', port: config.port, localAddress: '127.0.0.2' });
      socket.on('error', () => {});
      await once(socket, 'connect');
      return socket;
    }),
  );
  try {
    await eventually('most are closed', () => held.filter(({ closed }) => !closed).length === 32);
    assert.equal((await ask('GET', '/v1/status', `Bearer ${ADMIN}`)).status, 200);
  } finally {
    for (const socket of held) socket.destroy();
  }
});

test('certificate and tokens are read anew, or stay as they were', async () => {
  const { certificate, key } = makeCertificate(directory, 'second');
  writeFileSync(config.certificate, readFileSync(certificate));
  writeFileSync(config.key, readFileSync(key));
  writeFileSync(config.tokens[0]!.file, 'n'.repeat(32));
  server.reload();
  assert.equal((await ask('GET', '/v1/status', `Bearer ${READ}`)).status, 401);
  const answer = await ask('GET', '/v1/status', `Bearer ${'n'.repeat(32)}`);
  assert.deepEqual([answer.status, answer.issuer], [200, 'second']);
  writeFileSync(config.tokens[0]!.file, 'short');
  server.reload();
  assert.equal((await ask('GET', '/v1/status', `Bearer ${'n'.repeat(32)}`)).status, 200);
});

test('files that are missing, wrong or not secret are refused, without a word of what they hold', async () => {
  const token = { name: 'x', role: 'read' as const, file: secret('x', 't'.repeat(32)) };
  const open = secret('open', 's'.repeat(32));
  chmodSync(open, 0o644);
  const cases: [Partial<ApiListenConfig>, RegExp][] = [
    [
      { certificate: join(directory, 'none') },
      /the certificate: .*none cannot be read: there is no such file/,
    ],
    [{ key: secret('bad.key', 'SECRETKEY') }, /are not a certificate and its key/],
    [{ key: makeCertificate(directory, 'other').key }, /are not a certificate and its key/],
    [{ tokens: [{ ...token, file: secret('short', 'SECRETSHORT') }] }, /holds no token of at least 32/],
    [
      { tokens: [{ ...token, file: secret('space', `SECRET ${'t'.repeat(32)}`) }] },
      /holds no token of at least 32/,
    ],
    [{ tokens: [{ ...token, file: open }] }, /everybody may use .*chmod o=/],
    [{ tokens: [token, { ...token, name: 'y' }] }, /token y is the same as another one|token x is the same/],
    [{}, /cannot listen on 127\.0\.0\.1 port \d+: .*EADDRINUSE/],
  ];
  for (const [change, message] of cases) {
    const listen = { ...config, tokens: [token], ...change };
    await assert.rejects(
      serveApi(stubControl({}), { socketPath: join(directory, 'other.sock'), listen }),
      (error: Error) => {
        assert.ok(error instanceof ApiListenError, String(error));
        assert.match(error.message, message);
        assert.doesNotMatch(error.message, /SECRET/);
        return true;
      },
    );
  }
});

test('whatever cannot be listened on, nothing stays open', async (t) => {
  const open = new Set<FastifyInstance>();
  const onInstance = (message: unknown): void => {
    const { fastify } = message as { fastify: FastifyInstance };
    open.add(fastify);
    fastify.addHook('onClose', async () => void open.delete(fastify));
  };
  subscribe('fastify.initialization', onInstance);
  t.after(() => unsubscribe('fastify.initialization', onInstance));
  const tokens = [{ name: 'x', role: 'read', file: secret('x', READ) }] as const;
  const taken = { ...config, ...makeCertificate(directory, 'x'), tokens };
  const free = { ...taken, port: await freePort() };
  const file = secret('no-socket', 'a file');
  const cases = [
    { listen: { ...free, key: '/nowhere' }, socketPath: join(directory, 'never.sock') },
    { listen: taken, socketPath: join(directory, 'never.sock') },
    { listen: free, socketPath: file },
    { listen: null, socketPath: file },
  ];
  for (const options of cases) {
    await assert.rejects(serveApi(stubControl({}), options));
    assert.equal(open.size, 0, JSON.stringify(options));
  }
  const served = await serveApi(stubControl({}), { listen: free, socketPath: join(directory, 'good.sock') });
  assert.equal(open.size, 2);
  await served.close();
  assert.equal(open.size, 0);
});
