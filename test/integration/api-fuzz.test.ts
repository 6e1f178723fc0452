/** The API, fuzzed from its own description: no 5xx, no crash, no secret in answers or in the log. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { CONFIG, DaemonHost } from '../support/daemon-host.ts';
import { type Description, type FuzzedRequest, requestsFor } from '../support/openapi-fuzz.ts';
import { makeCertificate, SECRET, writeSecret } from '../support/tls-files.ts';

const SEED = 20_260_101;
const REQUESTS_PER_OPERATION = 40;
/** Streams never end; what the answer's head says is enough. */
const ANSWER_TIMEOUT_MS = 400;
const WORDS = [
  'lyon',
  'lyon-ic',
  'dc-tun',
  'internet',
  'return-routing',
  '10.0.1.7',
  '10.0.1.0/24',
  'fd00::1',
  'tcp',
  '1',
];

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly text: string;
}

test('random requests to every operation', async (t) => {
  const host = new DaemonHost(t);
  const files = makeCertificate(host.directory, 'gateway');
  const token = writeSecret(join(host.directory, 'token'), SECRET);
  const config = `${CONFIG}
api:
  listen:
    { address: 192.0.2.1, port: 9443, certificate: ${files.certificate}, key: ${files.key}, tokens: [ { name: a, role: admin, file: ${token} } ] }
`;
  writeFileSync(host.configPath, config);
  host.start();
  const before = await host.forwarding();
  const socketPath = join(host.runtimeDirectory, 'api.sock');
  const { text } = await ask(socketPath, {
    method: 'GET',
    target: '/v1/openapi.json',
    contentType: undefined,
    body: undefined,
  });
  const description = JSON.parse(text) as Description;

  const statuses = new Map<string, Set<number>>();
  for (const [path, methods] of Object.entries(description.paths)) {
    for (const [method, { operationId }] of Object.entries(methods)) {
      const seen = new Set<number>();
      statuses.set(operationId, seen);
      const made = requestsFor(description, path, method, { texts: [...WORDS, config] });
      for (const fuzzed of fc.sample(made, { numRuns: REQUESTS_PER_OPERATION, seed: SEED })) {
        const asked = operationId === 'takeDown' ? dry(fuzzed) : fuzzed;
        const answer = await ask(socketPath, asked);
        const where = `${asked.method} ${asked.target} ${asked.contentType} ${asked.body}`;
        seen.add(answer.status);
        assert.ok(
          answer.status === 0 || (answer.status >= 200 && answer.status < 500),
          `${answer.status} ${answer.text}: ${where}`,
        );
        if (answer.status >= 400) assert.match(answer.type, /^application\/problem\+json/, where);
        assert.ok(!leaks(answer.text), where);
      }
    }
  }
  // It got somewhere: no operation refused everything for its form alone.
  for (const [operation, seen] of statuses) {
    assert.ok(
      [...seen].some((status) => ![400, 405, 413, 415].includes(status)),
      `${operation}: ${[...seen]}`,
    );
  }
  const after = await host.status();
  assert.deepEqual([after.pid, after.dataPlane.restarts], [before.pid, 0]);
  assert.ok(!leaks(host.output()), 'the log holds a secret');
});

/** Of the token and of the private key. */
function leaks(text: string): boolean {
  return text.includes(SECRET) || text.includes('PRIVATE KEY');
}

function dry({ target, ...rest }: FuzzedRequest): FuzzedRequest {
  const [path] = target.split('?');
  return { ...rest, target: `${path}?validate_only=true` };
}

/** What is answered; status 0 if nothing is in time, or if the connection ends before. */
function ask(socketPath: string, { method, target, contentType, body }: FuzzedRequest): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = contentType === undefined ? {} : { 'content-type': contentType };
    const outgoing = request({ socketPath, method, path: target, headers }, (incoming) => {
      const type = incoming.headers['content-type'] ?? '';
      const status = incoming.statusCode ?? 0;
      let text = '';
      const done = (): void => {
        resolve({ status, type, text });
        outgoing.destroy();
      };
      incoming.on('data', (part: Buffer) => {
        text += part.toString();
        if (!type.includes('json')) done();
      });
      incoming.on('end', done).on('error', done);
    });
    const timer = setTimeout(() => {
      resolve({ status: 0, type: '', text: '' });
      outgoing.destroy();
    }, ANSWER_TIMEOUT_MS * 10);
    outgoing.on('close', () => clearTimeout(timer));
    outgoing.on('error', (error: NodeJS.ErrnoException) => {
      // A body that nobody wants to read to its end.
      if (error.code === 'ECONNRESET' || error.code === 'EPIPE') resolve({ status: 0, type: '', text: '' });
      else reject(error);
    });
    outgoing.end(body);
  });
}
