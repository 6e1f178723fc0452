/**
 * `/v1/events`: what changes, as server-sent events (WHATWG HTML, section 9.2).
 *
 * ```
 *  id: 17
 *  event: plan_applied
 *  data: {"id":17,"time":"2026-01-01T00:00:00.000Z","type":"plan_applied","generation":4}
 *
 *  : heartbeat            every 15 s without events, so that either side notices a dead connection
 * ```
 *
 * A client that does not read is cut off before it costs memory; with `Last-Event-ID` (here: `after`) it gets what
 * it missed, as far as it is kept: that waits for it, however much it is.
 */
import { Readable } from 'node:stream';
import * as z from 'zod';
import type { ControlEvent, ControlEvents } from '../../control/events.ts';
import { RequestError } from '../../control/request-error.ts';
import type { Api } from '../operation.ts';
import { wholeNumber } from '../schemas/parameters.ts';

const HEARTBEAT_MS = 15_000;
/** What may wait for one client. */
const MAX_WAITING_BYTES = 256 * 1024;
const MAX_CLIENTS = 64;

export function eventRoutes(api: Api): void {
  const streams = new Set<EventStream>();
  api.stream({
    method: 'GET',
    path: '/v1/events',
    id: 'watchEvents',
    summary: 'What changes, as it happens',
    description:
      'Server-sent events. Ask for the status once the stream is open: events are news, not state.',
    query: {
      after: wholeNumber(0, Number.MAX_SAFE_INTEGER)
        .optional()
        .describe('Begin with the kept events after this id.'),
      type: z.string().max(64).optional().describe('Only events of this type.'),
    },
    contentType: 'text/event-stream',
    answerDescription: 'Events, each an `Event` as JSON.',
    handle: async ({ query, signal }, control) => {
      if (streams.size >= MAX_CLIENTS) {
        throw new RequestError(
          'unavailable',
          'too_many_clients',
          `${MAX_CLIENTS} clients watch events already`,
        );
      }
      const stream = new EventStream(control.events, query.after, query.type);
      streams.add(stream);
      stream.once('close', () => streams.delete(stream));
      if (signal.aborted) stream.finish();
      else signal.addEventListener('abort', () => stream.finish(), { once: true });
      return stream;
    },
  });
}

/** The events of one client; exported for tests. */
export class EventStream extends Readable {
  readonly #type: string | undefined;
  readonly #unsubscribe: () => void;
  readonly #heartbeat: NodeJS.Timeout;
  /** What the client has no room for yet. */
  #waiting: string[] = [];
  #waitingBytes = 0;
  /** What may wait at most: more than usual as long as what was missed does. */
  #mostBytes = Number.POSITIVE_INFINITY;
  #isWanted = false;

  constructor(events: ControlEvents, after: number | undefined, type: string | undefined) {
    super();
    this.#type = type;
    this.#heartbeat = setInterval(() => this.#put(': heartbeat\n\n'), HEARTBEAT_MS);
    // The answer's head is sent with this, before anything happens.
    this.#put(': homeward\n\n');
    if (after !== undefined) for (const event of events.since(after)) this.#tell(event);
    this.#mostBytes = this.#waitingBytes + MAX_WAITING_BYTES;
    this.#unsubscribe = events.subscribe((event) => this.#tell(event));
  }

  override _read(): void {
    this.#isWanted = true;
    this.#pass();
    this.#mostBytes = Math.min(this.#mostBytes, this.#waitingBytes + MAX_WAITING_BYTES);
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    clearInterval(this.#heartbeat);
    this.#unsubscribe();
    this.#waiting = [];
    callback(error);
  }

  finish(): void {
    clearInterval(this.#heartbeat);
    this.#unsubscribe();
    if (this.destroyed) return;
    for (const text of this.#waiting) this.push(text);
    this.#waiting = [];
    this.push(null);
  }

  #tell(event: ControlEvent): void {
    if (this.#type !== undefined && event.type !== this.#type) return;
    this.#put(`id: ${event.id}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);
  }

  #put(text: string): void {
    if (this.destroyed) return;
    this.#waiting.push(text);
    this.#waitingBytes += Buffer.byteLength(text);
    this.#pass();
    if (this.#waitingBytes > this.#mostBytes) this.destroy();
  }

  /** Hands on as much as the client has room for. */
  #pass(): void {
    while (this.#isWanted && this.#waiting.length > 0) {
      const text = this.#waiting.shift()!;
      this.#waitingBytes -= Buffer.byteLength(text);
      this.#isWanted = this.push(text);
    }
  }
}
