/** The application without sockets: what it refuses, what it describes, and its events. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { InjectOptions } from 'fastify';
import { EXAMPLE_STATUS } from '../../test/fixtures/example-status.ts';
import { stubControl } from '../../test/support/stub-control.ts';
import type { GatewayControl } from '../control/daemon.ts';
import { ControlEvents } from '../control/events.ts';
import { RequestError } from '../control/request-error.ts';
import { allOperations, makeApp } from './app.ts';
import { EventStream } from './routes/events.ts';
import { eventSchema } from './schemas/events.ts';
import { type ProblemBody, problemSchema } from './schemas/problem.ts';

function app(given: Partial<GatewayControl>) {
  return makeApp(stubControl(given), { checkAnswers: true });
}

test('what is wrong with a request is a problem with a stable code', async () => {
  let downs = 0;
  const down = async (): Promise<void> => {
    downs++;
  };
  const api = app({ status: async () => EXAMPLE_STATUS, down });
  const json = { 'content-type': 'application/json' };
  const cases: [InjectOptions & { url: string }, number, string][] = [
    [{ method: 'GET', url: '/v1/nothing' }, 404, 'not_found'],
    [{ method: 'GET', url: '/' }, 404, 'not_found'],
    [{ method: 'GET', url: '/v1/%zz' }, 400, 'bad_request'],
    [{ method: 'POST', url: '/v1/nothing', payload: '{', headers: json }, 404, 'not_found'],
    [{ method: 'DELETE', url: '/v1/status' }, 405, 'method_not_allowed'],
    [{ method: 'POST', url: '/v1/openapi.json' }, 405, 'method_not_allowed'],
    [{ method: 'GET', url: '/v1/status?x=1' }, 400, 'bad_request'],
    [{ method: 'GET', url: '/v1/status?validate_only=true' }, 400, 'bad_request'],
    [{ method: 'POST', url: '/v1/down?validate_only=yes' }, 400, 'bad_request'],
    [{ method: 'POST', url: '/v1/down?validate_only=true&validate_only=true' }, 400, 'bad_request'],
    [{ method: 'POST', url: '/v1/down', payload: '{', headers: json }, 400, 'bad_request'],
    [{ method: 'POST', url: '/v1/down', payload: '{"now":1}', headers: json }, 400, 'bad_request'],
    [
      { method: 'POST', url: '/v1/down', payload: '{"__proto__":{"x":1}}', headers: json },
      400,
      'bad_request',
    ],
    [
      { method: 'POST', url: '/v1/down', payload: 'x', headers: { 'content-type': 'text/plain' } },
      415,
      'unsupported_media_type',
    ],
    [{ method: 'POST', url: '/v1/down', payload: `"${'x'.repeat(9e6)}"`, headers: json }, 413, 'too_large'],
  ];
  for (const [asked, status, code] of cases) {
    const answer = await api.inject(asked);
    const where = `${asked.method} ${asked.url}`;
    assert.equal(answer.statusCode, status, where);
    assert.match(String(answer.headers['content-type']), /^application\/problem\+json/, where);
    const problem = problemSchema.parse(answer.json());
    assert.deepEqual([problem.status, problem.code], [status, code], where);
  }
  assert.equal(downs, 0);
  const wrongMethod = await api.inject({ method: 'DELETE', url: '/v1/status' });
  assert.equal(wrongMethod.headers.allow, 'GET');
  const dry = await api.inject({ method: 'POST', url: '/v1/down?validate_only=true' });
  assert.deepEqual([dry.json(), downs], [{ down: false }, 0]);
});

test("control's errors keep their code and their findings", async () => {
  const ask = async (thrown: unknown): Promise<ProblemBody> => {
    const answer = await app({ status: () => Promise.reject(thrown) }).inject('/v1/status');
    return problemSchema.parse(answer.json());
  };
  const finding = { file: 'a.yaml', line: 3, column: 4, path: 'sites', text: 'is missing' };
  const invalid = Object.assign(new Error('a.yaml:3:4: ...'), {
    code: 'config_invalid',
    problems: [finding],
  });
  assert.deepEqual(await ask(invalid), {
    type: 'about:blank',
    title: 'Unprocessable Entity',
    status: 422,
    detail: 'a.yaml:3:4: ...',
    code: 'config_invalid',
    problems: [finding],
  });
  assert.equal((await ask(Object.assign(new Error('x'), { code: 'data_plane_gone' }))).status, 503);
  const missing = await ask(new RequestError('not_found', 'no_such_tunnel', 'there is no tunnel x'));
  assert.deepEqual([missing.status, missing.code], [404, 'no_such_tunnel']);
  const other = await ask(new TypeError('x is not a function'));
  assert.deepEqual([other.status, other.code], [500, 'failed']);
});

test('answers that are not as their schema says fail in tests', async () => {
  for (const wrong of [
    { ...EXAMPLE_STATUS, pid: 'x' },
    { ...EXAMPLE_STATUS, more: 1 },
  ]) {
    const answer = await app({ status: async () => wrong as never }).inject('/v1/status');
    assert.equal(answer.statusCode, 500);
  }
});

test('the description names every operation, and refers to nothing that is not there', async () => {
  const description = (await app({}).inject('/v1/openapi.json')).json();
  assert.equal(description.openapi, '3.1.0');
  const described = Object.values(
    description.paths as Record<string, Record<string, { operationId: string }>>,
  )
    .flatMap((path) => Object.values(path))
    .map(({ operationId }) => operationId);
  assert.deepEqual(
    described.toSorted(),
    allOperations()
      .map(({ id }) => id)
      .toSorted(),
  );
  const text = JSON.stringify(description);
  for (const [, name] of text.matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g)) {
    assert.ok(Object.hasOwn(description.components.schemas, name!), name);
  }
  assert.equal(/"\$ref":"(?!#\/components\/schemas\/)/.test(text), false);
  for (const { path, params } of allOperations()) {
    const named = [...path.matchAll(/:([a-zA-Z_]+)/g)].map(([, name]) => name);
    assert.deepEqual(named, Object.keys(params ?? {}), path);
  }
});

test('events: news as they happen, what was missed, one type only, and an end', async () => {
  const events = new ControlEvents();
  events.publish({ type: 'plan_applied', generation: 1 });
  events.publish({ type: 'plan_applied', generation: 2 });
  const ending = new AbortController();
  const api = makeApp(stubControl({ events }), { ending: ending.signal });
  const all = Promise.resolve(api.inject('/v1/events?after=1'));
  const some = Promise.resolve(api.inject('/v1/events?type=problems'));
  while (!events.watched) await new Promise(setImmediate);
  await new Promise((resolve) => setTimeout(resolve, 50));
  events.publish({ type: 'problems', problems: ['no route'] });
  events.publish({
    type: 'port_state',
    port: 'a',
    role: 'tunnel',
    former: 'up',
    state: null,
    reason: null,
    since: null,
  });
  await new Promise((resolve) => setTimeout(resolve, 50));
  ending.abort();
  const told = async (answer: Promise<{ body: string }>): Promise<unknown[]> => {
    const { body } = await answer;
    return [...body.matchAll(/^data: (.*)$/gm)].map(([, data]) => {
      const { time: _, ...event } = eventSchema.parse(JSON.parse(data));
      return event;
    });
  };
  assert.deepEqual(await told(all), [
    { id: 2, type: 'plan_applied', generation: 2 },
    { id: 3, type: 'problems', problems: ['no route'] },
    {
      id: 4,
      type: 'port_state',
      port: 'a',
      role: 'tunnel',
      former: 'up',
      state: null,
      reason: null,
      since: null,
    },
  ]);
  assert.deepEqual(await told(some), [{ id: 3, type: 'problems', problems: ['no route'] }]);
  assert.equal(events.watched, false);
});

test('who comes back gets all that was missed, however much; who does not read is cut off', async () => {
  const events = new ControlEvents();
  const problems = ['x'.repeat(20_000)];
  for (let i = 0; i < 40; i++) events.publish({ type: 'problems', problems });
  const ending = new AbortController();
  const api = makeApp(stubControl({ events }), { ending: ending.signal });
  const missed = Promise.resolve(api.inject('/v1/events?after=0'));
  while (!events.watched) await new Promise(setImmediate);
  ending.abort();
  assert.equal((await missed).body.match(/^data: /gm)?.length, 40);

  const stream = new EventStream(events, 0, undefined);
  const cutOff = new Promise((resolve) => stream.once('close', resolve));
  for (let i = 0; i < 40; i++) events.publish({ type: 'problems', problems });
  await cutOff;
  assert.equal(events.watched, false);
});
