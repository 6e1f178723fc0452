/**
 * The client of homeward's API: JSON over HTTP, on a Unix socket or on TCP with TLS and a token. The command line uses
 * nothing else to reach a running gateway.
 *
 * {@link ApiClient} knows how to ask; what there is to ask for is in `client/`, one file for each topic, as
 * functions that take the client.
 */
import type { IncomingMessage } from 'node:http';
import type * as z from 'zod';
import { type Endpoint, endpointName, requestTo, unreachable } from './endpoint.ts';
import { downSchema, type StatusBody, statusSchema } from './schemas/gateway.ts';
import { type ProblemBody, problemSchema } from './schemas/problem.ts';

/** Answers are bounded: a status of a thousand tunnels is far below. */
const MAX_ANSWER_BYTES = 32 * 1024 * 1024;

const CUT_OFF = ['ECONNRESET', 'EPIPE'];

export type ApiErrorCode =
  /** Nobody listens there. */
  | 'not_running'
  | 'no_permission'
  /** The server's certificate. */
  | 'not_trusted'
  | 'timeout'
  /** The server refused; `status` says how. */
  | 'refused'
  /** The connection ended before the answer did: whether what was asked for was done is not known. */
  | 'cut_off'
  /** The answer is not what the API gives. */
  | 'bad_answer';

/** A request that failed. The message is a sentence for people. */
export class ApiError extends Error {
  readonly code: ApiErrorCode;
  /** HTTP status, with `refused`. */
  readonly status: number | undefined;
  /** What the server said, with `refused`: its `code` and `problems`. */
  readonly problem: ProblemBody | undefined;

  constructor(code: ApiErrorCode, message: string, status?: number, problem?: ProblemBody) {
    super(message);
    this.name = 'ApiError';
    this.code = code;
    this.status = status;
    this.problem = problem;
  }
}

/** What is asked for, beside method and path. */
export interface RequestOptions {
  /** Members that are undefined are left out. */
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** For this request instead of the client's; 0: none. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

export class ApiClient {
  readonly #endpoint: Endpoint;
  readonly #timeoutMs: number;

  /**
   * @param endpoint a string is the path of a Unix socket
   * @param timeoutMs for a whole request
   */
  constructor(endpoint: string | Endpoint, timeoutMs: number) {
    this.#endpoint = typeof endpoint === 'string' ? { kind: 'socket', path: endpoint } : endpoint;
    this.#timeoutMs = timeoutMs;
  }

  /** Whether the gateway is on this host, as far as it can be known: its files are at hand then. */
  get isLocal(): boolean {
    return this.#endpoint.kind === 'socket';
  }

  /** @throws ApiError */
  status(): Promise<StatusBody> {
    return this.request(statusSchema, 'GET', '/v1/status');
  }

  /**
   * Takes the gateway down, as SIGINT does. Resolves when everything is gone.
   *
   * @throws ApiError
   */
  async down(): Promise<void> {
    await this.request(downSchema, 'POST', '/v1/down');
  }

  /**
   * Asks, and checks the answer.
   *
   * @param path with its parameters filled in, by {@link encodeURIComponent}
   * @throws ApiError
   */
  async request<Answer extends z.ZodType>(
    schema: Answer,
    method: Method,
    path: string,
    options: RequestOptions = {},
  ): Promise<z.output<Answer>> {
    const incoming = await this.#send(method, path, 'application/json', options);
    const text = (await this.#readWhole(incoming)).toString('utf8');
    let body: unknown;
    try {
      body = text === '' ? undefined : JSON.parse(text);
    } catch {
      throw this.#badAnswer('no JSON');
    }
    this.#refuseUnlessDone(incoming, body);
    const answer = schema.safeParse(body);
    if (!answer.success) throw this.#badAnswer('not what this version of homeward expects');
    return answer.data;
  }

  /**
   * An answer that is no JSON, as it comes: text, events, a capture. The caller reads it or destroys it.
   *
   * @throws ApiError; what goes wrong later ends the stream with an ApiError.
   */
  async stream(method: Method, path: string, options: RequestOptions = {}): Promise<AsyncIterable<Buffer>> {
    const incoming = await this.#send(method, path, '*/*', { ...options, timeoutMs: options.timeoutMs ?? 0 });
    const status = incoming.statusCode ?? 0;
    if (status < 200 || status >= 300) {
      const text = (await this.#readWhole(incoming)).toString('utf8');
      let body: unknown;
      try {
        body = JSON.parse(text);
      } catch {
        throw this.#badAnswer('no JSON');
      }
      this.#refuseUnlessDone(incoming, body);
    }
    return this.#parts(incoming);
  }

  async *#parts(incoming: IncomingMessage): AsyncGenerator<Buffer> {
    try {
      for await (const part of incoming) yield part as Buffer;
    } catch (error) {
      throw this.#translate(error as Error, 0);
    }
  }

  #send(
    method: Method,
    path: string,
    accept: string,
    { query = {}, body, timeoutMs = this.#timeoutMs, signal }: RequestOptions,
  ): Promise<IncomingMessage> {
    const search = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) search.append(name, String(value));
    }
    const text = body === undefined ? undefined : JSON.stringify(body);
    const ends = [...(timeoutMs === 0 ? [] : [AbortSignal.timeout(timeoutMs)]), ...(signal ? [signal] : [])];
    return new Promise((resolve, reject) => {
      const outgoing = requestTo(this.#endpoint, {
        method,
        path: search.size === 0 ? path : `${path}?${search}`,
        headers: {
          accept,
          ...(text === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
        },
        ...(ends.length === 0 ? {} : { signal: AbortSignal.any(ends) }),
      });
      outgoing.on('response', resolve);
      outgoing.on('error', (error) => reject(this.#translate(error, timeoutMs)));
      outgoing.end(text);
    });
  }

  async #readWhole(incoming: IncomingMessage): Promise<Buffer> {
    const parts: Buffer[] = [];
    let length = 0;
    try {
      for await (const part of incoming) {
        length += (part as Buffer).length;
        if (length > MAX_ANSWER_BYTES) throw this.#badAnswer('more than it may be');
        parts.push(part as Buffer);
      }
    } catch (error) {
      throw this.#translate(error as Error, this.#timeoutMs);
    }
    return Buffer.concat(parts);
  }

  #refuseUnlessDone(incoming: IncomingMessage, body: unknown): void {
    const status = incoming.statusCode ?? 0;
    if (status >= 200 && status < 300) return;
    const problem = problemSchema.safeParse(body);
    if (!problem.success)
      throw new ApiError('refused', `the gateway refused (${status}): no reason given`, status);
    const { detail } = problem.data;
    // What the asker can put right is told as it is; trouble of the gateway's own is told as that.
    const message = status < 500 ? detail : `the gateway refused (${status}): ${detail}`;
    throw new ApiError('refused', message, status, problem.data);
  }

  #translate(error: Error, timeoutMs: number): ApiError {
    if (error instanceof ApiError) return error;
    const reason = unreachable(this.#endpoint, error);
    if (reason !== undefined) return new ApiError(reason.code, reason.text);
    if (error.name === 'TimeoutError' || error.name === 'AbortError') {
      const name = endpointName(this.#endpoint);
      return new ApiError('timeout', `no answer on ${name} within ${timeoutMs} ms`);
    }
    const { code = '' } = error as NodeJS.ErrnoException;
    if (CUT_OFF.includes(code)) {
      const name = endpointName(this.#endpoint);
      return new ApiError(
        'cut_off',
        `${name} hung up before the answer was there; see what runs now (homeward status, homeward config history)`,
      );
    }
    return this.#badAnswer(error.message);
  }

  #badAnswer(what: string): ApiError {
    const name = endpointName(this.#endpoint);
    return new ApiError('bad_answer', `the answer on ${name} is not homeward's: ${what}`);
  }
}
