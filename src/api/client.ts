/**
 * The client of homeward's API: JSON over HTTP on a Unix socket. The command line uses nothing else to reach a
 * running gateway.
 */
import { request } from 'node:http';
import { downSchema, errorSchema, type StatusBody, statusSchema } from './schemas.ts';

/** Answers are bounded: a status of a thousand tunnels is far below. */
const MAX_ANSWER_BYTES = 32 * 1024 * 1024;

export type ApiErrorCode =
  /** Nobody listens on the socket. */
  | 'not_running'
  | 'no_permission'
  | 'timeout'
  /** The server refused; `status` says how. */
  | 'refused'
  /** The answer is not what the API gives. */
  | 'bad_answer';

/** A request that failed. The message is a sentence for people. */
export class ApiError extends Error {
  readonly code: ApiErrorCode;
  /** HTTP status, with `refused`. */
  readonly status: number | undefined;

  constructor(code: ApiErrorCode, message: string, status?: number) {
    super(message);
    this.name = 'ApiError';
    this.code = code;
    this.status = status;
  }
}

export class ApiClient {
  readonly #socketPath: string;
  readonly #timeoutMs: number;

  /** @param timeoutMs for a whole request */
  constructor(socketPath: string, timeoutMs: number) {
    this.#socketPath = socketPath;
    this.#timeoutMs = timeoutMs;
  }

  /** @throws ApiError */
  async status(): Promise<StatusBody> {
    const answer = statusSchema.safeParse(await this.#send('GET', '/v1/status'));
    if (!answer.success) throw this.#badAnswer('no status');
    return answer.data;
  }

  /**
   * Takes the gateway down, as SIGINT does. Resolves when everything is gone.
   *
   * @throws ApiError
   */
  async down(): Promise<void> {
    const answer = downSchema.safeParse(await this.#send('POST', '/v1/down'));
    if (!answer.success) throw this.#badAnswer('no word of what was done');
  }

  #send(method: 'GET' | 'POST', path: string): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const outgoing = request(
        {
          socketPath: this.#socketPath,
          method,
          path,
          headers: { accept: 'application/json' },
          signal: AbortSignal.timeout(this.#timeoutMs),
        },
        (incoming) => {
          const parts: Buffer[] = [];
          let length = 0;
          incoming.on('data', (part: Buffer) => {
            length += part.length;
            if (length > MAX_ANSWER_BYTES) outgoing.destroy(this.#badAnswer('more than it may be'));
            else parts.push(part);
          });
          incoming.on('error', (error) => reject(this.#translate(error)));
          incoming.on('end', () => {
            try {
              resolve(this.#read(incoming.statusCode ?? 0, Buffer.concat(parts).toString('utf8')));
            } catch (error) {
              reject(error);
            }
          });
        },
      );
      outgoing.on('error', (error) => reject(this.#translate(error)));
      outgoing.end();
    });
  }

  #read(status: number, body: string): unknown {
    let answer: unknown;
    try {
      answer = body === '' ? undefined : JSON.parse(body);
    } catch {
      throw this.#badAnswer('no JSON');
    }
    if (status >= 200 && status < 300) return answer;
    throw new ApiError('refused', `the gateway refused (${status}): ${errorMessage(answer)}`, status);
  }

  #translate(error: Error): ApiError {
    if (error instanceof ApiError) return error;
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ECONNREFUSED') {
      return new ApiError(
        'not_running',
        `no gateway listens on ${this.#socketPath}; start one with "homeward run", or ask in its network namespace`,
      );
    }
    if (code === 'EACCES' || code === 'EPERM') {
      return new ApiError('no_permission', `no permission for ${this.#socketPath}: run as root`);
    }
    if (error.name === 'TimeoutError' || error.name === 'AbortError') {
      return new ApiError('timeout', `no answer on ${this.#socketPath} within ${this.#timeoutMs} ms`);
    }
    return this.#badAnswer(error.message);
  }

  #badAnswer(what: string): ApiError {
    return new ApiError('bad_answer', `the answer on ${this.#socketPath} is not homeward's: ${what}`);
  }
}

function errorMessage(answer: unknown): string {
  const body = errorSchema.safeParse(answer);
  return body.success ? body.data.error.message : 'no reason given';
}
