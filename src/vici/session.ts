/**
 * One connection to a VICI daemon.
 *
 * ```
 *  request(command)                    -- CMD_REQUEST -->
 *                                      <-- EVENT (if the command streams: one each) --
 *                                      <-- CMD_RESPONSE | CMD_UNKNOWN --
 *  subscribe(event), the first one     -- EVENT_REGISTER -->      <-- EVENT_CONFIRM | EVENT_UNKNOWN --
 *                    the last one gone -- EVENT_UNREGISTER -->    <-- EVENT_CONFIRM | EVENT_UNKNOWN --
 * ```
 *
 * Answers carry no number: they belong to the requests in the order of sending. So a request that is not answered
 * in time takes the connection with it, and every other one that waits on it; some requests (an unknown operation,
 * an empty segment) are never answered at all. A command that blocks (`initiate`) holds up what is sent behind it:
 * it belongs on a connection of its own (`client.ts`).
 *
 * Registrations are counted: the daemon delivers an event as often as it was asked to.
 *
 * Neighbours: `packet.ts`, `message.ts` (the bytes), `client.ts` (several connections, and reconnecting).
 */
import { connect, type Socket } from 'node:net';
import { ViciError } from './errors.ts';
import { decodeMessage, encodeMessage, type ViciInput, type ViciSection } from './message.ts';
import {
  CMD_REQUEST,
  CMD_RESPONSE,
  CMD_UNKNOWN,
  EVENT,
  EVENT_CONFIRM,
  EVENT_REGISTER,
  EVENT_UNKNOWN,
  EVENT_UNREGISTER,
  encodePacket,
  PacketReader,
  type ViciPacket,
} from './packet.ts';

const DEFAULT_TIMEOUT_MS = 10_000;
const CONNECT_TIMEOUT_MS = 5_000;
/** So many time limits a stream may take as a whole. */
const STREAM_TIMEOUTS = 6;
/** What a daemon that does not read may leave in our memory. */
const MAX_UNSENT_BYTES = 16 * 1024 * 1024;

export type EventHandler = (event: ViciSection, name: string) => void;

export interface RequestOptions {
  /**
   * Until the whole answer is there; default 10 s. A streamed command's parts each begin it anew, until that has gone on for
   * six times as long.
   */
  readonly timeoutMs?: number;
  /** Ends the wait, and with it the connection. */
  readonly signal?: AbortSignal;
}

/** With whom results of a stream are told from those of another one that waits. */
interface ExchangeOptions extends RequestOptions {
  readonly stream?: symbol;
}

/** What waits for an answer, in the order of sending. */
interface Waiting {
  readonly what: string;
  /** The types that answer it: the first is success. */
  readonly answers: readonly [number, number];
  readonly resolve: (message: Uint8Array) => void;
  readonly reject: (error: ViciError) => void;
  readonly stream: symbol | undefined;
  timer: NodeJS.Timeout;
  readonly timeoutMs: number;
  /** When it is given up, whatever comes: `performance.now()`. */
  readonly endsAtMs: number;
  readonly stopListening: () => void;
}

interface Subscription {
  readonly handlers: Set<EventHandler>;
  /** Settled when the daemon has said yes or no to the registration. */
  registered: Promise<void>;
}

export class ViciSession {
  readonly #socket: Socket;
  readonly #path: string;
  readonly #reader = new PacketReader();
  readonly #waiting: Waiting[] = [];
  readonly #subscriptions = new Map<string, Subscription>();
  readonly #closed = Promise.withResolvers<ViciError>();
  #end: ViciError | undefined;

  private constructor(socket: Socket, path: string) {
    this.#socket = socket;
    this.#path = path;
    socket.on('data', (chunk) => this.#receive(chunk));
    socket.on('error', (error) =>
      this.#finish(new ViciError('closed', `${path}: ${error.message}`, { cause: error })),
    );
    socket.on('close', () => this.#finish(new ViciError('closed', `the daemon closed ${path}`)));
  }

  /**
   * Connects to the daemon's Unix socket.
   *
   * @throws ViciError `unreachable`
   */
  static open(path: string, timeoutMs = CONNECT_TIMEOUT_MS): Promise<ViciSession> {
    return new Promise((resolve, reject) => {
      const socket = connect(path);
      const fail = (why: string, cause?: Error): void => {
        socket.destroy();
        reject(new ViciError('unreachable', `no VICI daemon on ${path}: ${why}`, { cause }));
      };
      const timer = setTimeout(() => fail(`no connection within ${timeoutMs} ms`), timeoutMs);
      socket.once('error', (error) => {
        clearTimeout(timer);
        fail(error.message, error);
      });
      socket.once('connect', () => {
        clearTimeout(timer);
        socket.removeAllListeners('error');
        resolve(new ViciSession(socket, path));
      });
    });
  }

  /** Resolves, to why, when the connection has ended, whoever ended it. */
  get closed(): Promise<ViciError> {
    return this.#closed.promise;
  }

  get isOpen(): boolean {
    return this.#end === undefined;
  }

  /** Ends the connection. Everything that waits fails with `closed`. */
  close(): void {
    this.#finish(new ViciError('closed', `${this.#path} was closed`));
  }

  /**
   * Runs a command; resolves to its answer as it is, whatever it says of success.
   *
   * @throws ViciError `unknown_command`, `timeout`, `aborted`, `closed`, `protocol`, `unsendable`
   */
  async ask(command: string, message: ViciInput = {}, options: RequestOptions = {}): Promise<ViciSection> {
    const packet = encodePacket(CMD_REQUEST, command, encodeMessage(message));
    const answer = await this.#exchange(command, packet, [CMD_RESPONSE, CMD_UNKNOWN], options);
    return this.#decode(answer);
  }

  /**
   * Runs a command; its answer must not say `success = no`.
   *
   * @throws ViciError as {@link ask}, and `refused` with the daemon's words
   */
  async request(
    command: string,
    message: ViciInput = {},
    options: RequestOptions = {},
  ): Promise<ViciSection> {
    const answer = await this.ask(command, message, options);
    const success = answer.get('success');
    if (success instanceof Uint8Array && Buffer.from(success).toString('latin1') === 'no') {
      const words = answer.get('errmsg');
      const why =
        words instanceof Uint8Array ? Buffer.from(words).toString('utf8') : 'the daemon does not say why';
      throw new ViciError('refused', `${command}: ${why}`);
    }
    return answer;
  }

  /**
   * Runs a command that streams its results as events (`list-sas` streams `list-sa`); resolves to all of them.
   * Without this registration the daemon would answer with an empty success.
   *
   * @param most results that are taken; more are a `protocol` error, so that an endless stream ends
   * @throws ViciError as {@link request}
   */
  async stream(
    command: string,
    event: string,
    message: ViciInput = {},
    options: RequestOptions & { readonly most?: number } = {},
  ): Promise<ViciSection[]> {
    const results: ViciSection[] = [];
    const { most = 100_000, ...others } = options;
    const stream = Symbol(command);
    const unsubscribe = await this.subscribe(
      event,
      (result) => {
        // Streams of one event share its registration: what comes is of the command that is being answered.
        const [answered] = this.#waiting;
        if (answered === undefined || answered.stream !== stream) return;
        results.push(result);
        if (results.length > most) {
          this.#finish(new ViciError('protocol', `${command} streams more than ${most} results`));
        } else {
          this.#stillAlive(answered);
        }
      },
      others,
    );
    try {
      const exchange: ExchangeOptions = { ...others, stream };
      await this.request(command, message, exchange);
      return results;
    } finally {
      await unsubscribe();
    }
  }

  /**
   * Calls `handler` for each event of this name until the returned function is called. A handler that throws
   * ends the connection: nobody would know what it missed.
   *
   * @throws ViciError `unknown_event`, `timeout`, `closed`
   */
  async subscribe(
    event: string,
    handler: EventHandler,
    options: RequestOptions = {},
  ): Promise<() => Promise<void>> {
    let subscription = this.#subscriptions.get(event);
    if (subscription === undefined) {
      const packet = encodePacket(EVENT_REGISTER, event);
      subscription = {
        handlers: new Set(),
        registered: this.#exchange(event, packet, [EVENT_CONFIRM, EVENT_UNKNOWN], options).then(() => {}),
      };
      this.#subscriptions.set(event, subscription);
    }
    // One entry for each call, also if two share a function.
    const entry: EventHandler = (section, name) => handler(section, name);
    subscription.handlers.add(entry);
    try {
      await subscription.registered;
    } catch (error) {
      if (this.#subscriptions.get(event) === subscription) this.#subscriptions.delete(event);
      throw error;
    }
    return () => this.#unsubscribe(event, subscription, entry);
  }

  async #unsubscribe(event: string, subscription: Subscription, entry: EventHandler): Promise<void> {
    if (!subscription.handlers.delete(entry) || subscription.handlers.size > 0) return;
    this.#subscriptions.delete(event);
    if (!this.isOpen) return;
    const packet = encodePacket(EVENT_UNREGISTER, event);
    await this.#exchange(event, packet, [EVENT_CONFIRM, EVENT_UNKNOWN], {}).catch((error: ViciError) => {
      // With the connection the registration is gone, too.
      if (this.isOpen) throw error;
    });
  }

  #exchange(
    what: string,
    packet: Uint8Array,
    answers: readonly [number, number],
    { timeoutMs = DEFAULT_TIMEOUT_MS, signal, stream }: ExchangeOptions,
  ): Promise<Uint8Array> {
    if (this.#end !== undefined) return Promise.reject(this.#end);
    if (signal?.aborted) return Promise.reject(new ViciError('aborted', `${what} was not sent`));
    return new Promise((resolve, reject) => {
      const onAbort = (): void =>
        this.#give(waiting, new ViciError('aborted', `${what} was given up; ${this.#path} was dropped`));
      const waiting: Waiting = {
        what,
        answers,
        resolve,
        reject,
        stream,
        timeoutMs,
        endsAtMs: performance.now() + STREAM_TIMEOUTS * timeoutMs,
        timer: this.#startTimer(() => waiting, timeoutMs),
        stopListening: () => signal?.removeEventListener('abort', onAbort),
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#waiting.push(waiting);
      this.#socket.write(packet);
      if (this.#socket.writableLength > MAX_UNSENT_BYTES) {
        this.#finish(new ViciError('closed', `the daemon on ${this.#path} does not read`));
      }
    });
  }

  #startTimer(waiting: () => Waiting, timeoutMs: number): NodeJS.Timeout {
    return setTimeout(() => {
      const { what, timeoutMs: limitMs } = waiting();
      this.#give(waiting(), new ViciError('timeout', `no answer to ${what} within ${limitMs} ms`));
    }, timeoutMs);
  }

  /** A streamed command goes on: its time begins anew, but not for ever. */
  #stillAlive(waiting: Waiting): void {
    clearTimeout(waiting.timer);
    const leftMs = Math.max(0, waiting.endsAtMs - performance.now());
    waiting.timer = this.#startTimer(() => waiting, Math.min(waiting.timeoutMs, leftMs));
  }

  /** Fails one that waits with its own error, and all others, and the connection. */
  #give(waiting: Waiting, error: ViciError): void {
    const at = this.#waiting.indexOf(waiting);
    if (at < 0) return;
    this.#waiting.splice(at, 1);
    settle(waiting);
    waiting.reject(error);
    this.#finish(new ViciError('closed', `${this.#path} was dropped: ${error.message}`));
  }

  #receive(chunk: Uint8Array): void {
    try {
      for (const packet of this.#reader.push(chunk)) {
        if (this.#end !== undefined) return;
        this.#handle(packet);
      }
    } catch (error) {
      this.#finish(
        error instanceof ViciError
          ? error
          : new ViciError('closed', `a handler failed: ${(error as Error).message}`, { cause: error }),
      );
    }
  }

  #handle(packet: ViciPacket): void {
    if (packet.type === EVENT) {
      const subscription = this.#subscriptions.get(packet.name);
      // One that was sent before our unregistering arrived.
      if (subscription === undefined) return;
      const section = decodeMessage(packet.message);
      for (const handler of [...subscription.handlers]) handler(section, packet.name);
      return;
    }
    const waiting = this.#waiting[0];
    if (waiting === undefined || !waiting.answers.includes(packet.type)) {
      const to = waiting === undefined ? 'nothing' : waiting.what;
      throw new ViciError('protocol', `the daemon answered ${to} with a packet of type ${packet.type}`);
    }
    this.#waiting.shift();
    settle(waiting);
    if (packet.type === CMD_UNKNOWN) {
      waiting.reject(
        new ViciError('unknown_command', `the daemon does not know the command ${waiting.what}`),
      );
    } else if (packet.type === EVENT_UNKNOWN) {
      waiting.reject(new ViciError('unknown_event', `the daemon does not know the event ${waiting.what}`));
    } else {
      waiting.resolve(packet.message);
    }
  }

  /** An answer that makes no sense says nothing about the next one: the stream's frames are right. */
  #decode(message: Uint8Array): ViciSection {
    try {
      return decodeMessage(message);
    } catch (error) {
      this.#finish(error as ViciError);
      throw error;
    }
  }

  #finish(error: ViciError): void {
    if (this.#end !== undefined) return;
    this.#end = error;
    this.#socket.destroy();
    this.#subscriptions.clear();
    for (const waiting of this.#waiting.splice(0)) {
      settle(waiting);
      waiting.reject(error);
    }
    this.#closed.resolve(error);
  }
}

function settle(waiting: Waiting): void {
  clearTimeout(waiting.timer);
  waiting.stopListening();
}
