/**
 * The API as an HTTP application, without its sockets: every operation of `routes/` on fastify, with checked
 * requests and problem details for whatever goes wrong.
 *
 * ```
 *  request ─► token, role (on TCP) ─► params, query, body against their schemas ─► handle ─► answer
 *                  │ 401, 403                      │ 400, 413, 415                   │ 4xx, 5xx
 *                  └───────────────────────────────┴─────────► problem details ◄─────┘
 * ```
 *
 * Neighbours: `server.ts` (sockets), `operation.ts` (what an operation is), `openapi.ts` (their description).
 */
import type { Socket } from 'node:net';
import { Readable } from 'node:stream';
import { isDeepStrictEqual } from 'node:util';
import fastify, {
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type FastifyServerFactory,
} from 'fastify';
import type * as z from 'zod';
import type { GatewayControl } from '../control/daemon.ts';
import { RequestError } from '../control/request-error.ts';
import { describeApi } from './openapi.ts';
import {
  type AnyOperation,
  bodySchema,
  type Caller,
  OperationList,
  paramsSchema,
  querySchema,
  roleOf,
} from './operation.ts';
import { badRequest, problemOf, problemWith } from './problems.ts';
import { registerRoutes } from './routes/index.ts';

/** A configuration of thousands of tunnels is below. */
const MAX_BODY_BYTES = 8 * 1024 * 1024;
/** Streams that the server's end finds open may say their last words for so long. */
const STREAM_GRACE_MS = 1000;
const PROBLEM_TYPE = 'application/problem+json';

/** Who asks; throws {@link RequestError} `unauthorized`. */
export type Authenticate = (request: FastifyRequest) => Caller;

/** Who reaches the Unix socket. */
const LOCAL_CALLER: Caller = { token: null, role: 'admin' };

export interface AppOptions {
  /** Without it everybody who reaches the application may do everything. */
  readonly authenticate?: Authenticate;
  /** Refuse answers (500) that are not as their schema says: for tests. */
  readonly checkAnswers?: boolean;
  /** Gets what an operation failed for, where it is not the asker's fault. */
  readonly onFailure?: (error: unknown, operationId: string) => void;
  /** Ends what is under way: streams end, and requests see their `signal`. */
  readonly ending?: AbortSignal;
  readonly serverFactory?: FastifyServerFactory;
}

/** Every operation there is, in the order of the description. */
export function allOperations(): readonly AnyOperation[] {
  const list = new OperationList();
  registerRoutes(list);
  return list.operations;
}

/** The application; to be used by {@link FastifyInstance.routing} once it is ready. */
export function makeApp(control: GatewayControl, options: AppOptions = {}): FastifyInstance {
  const operations = allOperations();
  const app = fastify({
    logger: false,
    bodyLimit: MAX_BODY_BYTES,
    exposeHeadRoutes: false,
    frameworkErrors: (error, _, reply) => sendProblem(reply, error),
    clientErrorHandler: answerBrokenRequest,
    ...(options.serverFactory === undefined ? {} : { serverFactory: options.serverFactory }),
  });
  app.removeContentTypeParser('text/plain');
  app.setValidatorCompiler(({ schema, httpPart }) => {
    const part = httpPart === 'querystring' ? 'query' : (httpPart ?? 'body');
    return (data: unknown) => {
      const checked = (schema as unknown as z.ZodType).safeParse(data);
      return checked.success ? { value: checked.data } : { error: badRequest(part, checked.error) };
    };
  });
  app.setSerializerCompiler(() => (answer) => `${JSON.stringify(answer)}\n`);
  app.setErrorHandler((error, request, reply) => {
    const failure =
      request.is404 && !(error instanceof RequestError) ? nothingThere(operations, request, reply) : error;
    const { status } = problemOf(failure);
    if (status === 401) reply.header('www-authenticate', 'Bearer realm="homeward"');
    if (status >= 500) options.onFailure?.(failure, request.routeOptions.url ?? request.url);
    sendProblem(reply, failure);
  });
  app.setNotFoundHandler((request, reply) => sendProblem(reply, nothingThere(operations, request, reply)));
  const callers = new WeakMap<FastifyRequest, Caller>();
  app.addHook('onRequest', async (request, reply) => {
    // One request a connection: the server's end waits for no idle ones.
    reply.raw.shouldKeepAlive = false;
    reply.header('cache-control', 'no-store');
    // Before anything else, also of what is not there: strangers learn nothing, and nothing of theirs is read.
    callers.set(request, options.authenticate?.(request) ?? LOCAL_CALLER);
  });
  // Made when somebody asks: it takes a tenth of a second, which a start is not to wait for.
  let description: ReturnType<typeof describeApi> | undefined;
  app.get('/v1/openapi.json', async () => {
    description ??= describeApi(operations);
    return description;
  });
  for (const operation of operations) mount(app, operation, control, options, callers);
  return app;
}

function mount(
  app: FastifyInstance,
  operation: AnyOperation,
  control: GatewayControl,
  options: AppOptions,
  callers: WeakMap<FastifyRequest, Caller>,
): void {
  app.route({
    method: operation.method,
    url: operation.path,
    onRequest: async (request) => {
      if (roleOf(operation) === 'admin' && callers.get(request)!.role !== 'admin') {
        throw new RequestError('forbidden', 'forbidden', `${operation.id} needs a token of the role admin`);
      }
    },
    schema: {
      params: paramsSchema(operation),
      querystring: querySchema(operation),
      ...(operation.method === 'GET' ? {} : { body: bodySchema(operation) }),
    },
    handler: async (request, reply) => {
      const gone = new AbortController();
      const { ending } = options;
      const end = (): void => gone.abort();
      reply.raw.once('close', end);
      ending?.addEventListener('abort', end, { once: true });
      reply.raw.once('close', () => ending?.removeEventListener('abort', end));
      if (ending?.aborted) end();
      const query = request.query as Record<string, unknown>;
      const answer = await operation.handle(
        {
          params: request.params as never,
          query: query as never,
          body: request.body as never,
          validateOnly: query.validate_only === true,
          caller: callers.get(request)!,
          signal: gone.signal,
        },
        control,
      );
      if (operation.answer !== undefined) {
        if (options.checkAnswers) checkAnswer(operation, answer);
        return reply.code(200).type('application/json; charset=utf-8').send(answer);
      }
      if (answer instanceof Readable) {
        reply.raw.once('close', () => answer.destroy());
        gone.signal.addEventListener('abort', () =>
          setTimeout(() => answer.destroy(), STREAM_GRACE_MS).unref(),
        );
      }
      return reply.code(200).type(operation.contentType!).send(answer);
    },
  });
}

/** An answer must be what its schema says, without members that it does not name. */
function checkAnswer(operation: AnyOperation, answer: unknown): void {
  const plain: unknown = JSON.parse(JSON.stringify(answer));
  const checked = operation.answer!.safeParse(plain);
  if (!checked.success) throw new Error(`the answer of ${operation.id}: ${checked.error.message}`);
  if (!isDeepStrictEqual(JSON.parse(JSON.stringify(checked.data)), plain)) {
    throw new Error(`the answer of ${operation.id} has members that its schema does not know`);
  }
}

function nothingThere(
  operations: readonly AnyOperation[],
  request: FastifyRequest,
  reply: FastifyReply,
): RequestError {
  const path = request.url.split('?')[0]!;
  const methods = operations.filter((one) => matches(one.path, path)).map(({ method }) => method as string);
  if (path === '/v1/openapi.json') methods.push('GET');
  if (methods.length === 0) return new RequestError('not_found', 'not_found', `there is nothing at ${path}`);
  reply.header('allow', methods.join(', '));
  return new RequestError('not_allowed', 'method_not_allowed', `${path} does not take ${request.method}`);
}

/** Whether a path is one of a pattern's; parameters take any one segment. */
function matches(pattern: string, path: string): boolean {
  const wanted = pattern.split('/');
  const given = path.split('/');
  return (
    wanted.length === given.length &&
    wanted.every((segment, at) => (segment.startsWith(':') ? given[at] !== '' : segment === given[at]))
  );
}

function sendProblem(reply: FastifyReply, error: unknown): void {
  const problem = problemOf(error);
  reply.code(problem.status).type(PROBLEM_TYPE).serializer(JSON.stringify).send(problem);
}

/** What is no HTTP at all. */
function answerBrokenRequest(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const [status, code] = error.code === 'HPE_HEADER_OVERFLOW' ? [431, 'too_large'] : [400, 'bad_request'];
  const problem = problemWith(status as number, code as string, 'this is not a request');
  const body = JSON.stringify(problem);
  socket.end(
    `HTTP/1.1 ${problem.status} ${problem.title}\r\ncontent-type: ${PROBLEM_TYPE}\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
}
