/**
 * A client that stays: one connection for events, one for commands, one for each command that blocks, and all of
 * them again when the daemon comes back.
 *
 * ```
 *  down -- connected, events registered --> reconciling -- done --> up
 *    ^                                          |                    |
 *    +------ connection lost, or it failed -----+--------------------+      (again after RETRY_MS, for ever)
 * ```
 *
 * A daemon that was restarted has no connections and no secrets any more, and what happened while nobody listened
 * was told to nobody. So events are registered first; then `reconcile` compares what the daemon has (`list-sas`,
 * `list-conns`) with what it should have, and only then the client counts as up.
 *
 * Neighbours: `session.ts` (one connection), `views.ts` (what the answers mean).
 */
import { EventEmitter } from 'node:events';
import { ViciError } from './errors.ts';
import type { ViciInput, ViciSection } from './message.ts';
import { type EventHandler, type RequestOptions, ViciSession } from './session.ts';
import {
  type Certificate,
  type Connection,
  type DaemonStatistics,
  type DaemonVersion,
  type IkeSa,
  type Pool,
  readAlgorithms,
  readCertificate,
  readConnections,
  readIkeSas,
  readPools,
  readStatistics,
  readVersion,
} from './views.ts';

const RETRY_MS = 200;
const MAX_RETRY_MS = 2_000;
/** So many questions in a row without an answer, each waited for its whole time: the daemon hangs. */
const SILENT_QUESTIONS = 2;
/** The daemon's own limit of a command that blocks comes first; then ours. */
const BLOCKING_GRACE_MS = 5_000;

export type ViciClientState = 'stopped' | 'down' | 'reconciling' | 'up';

interface ViciClientEvents {
  /** `error` says why it went down. */
  state: [state: ViciClientState, error: ViciError | undefined];
  /** It is there, takes connections and answers nothing. Said again after as many more questions. */
  silent: [];
}

export interface ViciClientOptions {
  readonly socketPath: string;
  /** Called with every new connection, before the client counts as up. If it fails, the connection is made anew. */
  readonly reconcile?: (client: ViciClient) => Promise<void>;
}

export class ViciClient extends EventEmitter<ViciClientEvents> {
  readonly #socketPath: string;
  readonly #reconcile: (client: ViciClient) => Promise<void>;
  readonly #handlers = new Map<string, EventHandler>();
  #state: ViciClientState = 'stopped';
  #lastError: ViciError | undefined;
  #events: ViciSession | undefined;
  #commands: Promise<ViciSession> | undefined;
  #retry: NodeJS.Timeout | undefined;
  #retryMs = RETRY_MS;
  #unanswered = 0;

  constructor({ socketPath, reconcile = async () => {} }: ViciClientOptions) {
    super();
    this.#socketPath = socketPath;
    this.#reconcile = reconcile;
  }

  get state(): ViciClientState {
    return this.#state;
  }

  /** Why it is not up, or was not before it was. */
  get lastError(): ViciError | undefined {
    return this.#lastError;
  }

  /**
   * Has events of this name delivered, now and after every reconnection. To be called before {@link start}.
   */
  handle(event: string, handler: EventHandler): void {
    if (this.#state !== 'stopped') throw new Error('events are to be handled before the client is started');
    this.#handlers.set(event, handler);
  }

  /** Connects, and keeps connected until {@link stop}. Says by `state` how it goes; never throws. */
  start(): void {
    if (this.#state !== 'stopped') return;
    this.#setState('down');
    void this.#connect();
  }

  /** Tries to connect now instead of when it is time to, if it is not connected: the daemon is known to be there. */
  hurry(): void {
    if (this.#retry === undefined) return;
    clearTimeout(this.#retry);
    this.#retryMs = RETRY_MS;
    this.#again();
  }

  stop(): void {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#setState('stopped');
    this.#drop();
  }

  /**
   * Runs a command that the daemon answers at once. Commands share a connection: one that is not answered in
   * time fails those behind it, too, and the next one gets a new connection.
   *
   * @throws ViciError
   */
  async request(
    command: string,
    message: ViciInput = {},
    options: RequestOptions = {},
  ): Promise<ViciSection> {
    return this.#ask((session) => session.request(command, message, options));
  }

  /**
   * Runs a command that streams events; resolves to all of them.
   *
   * @throws ViciError
   */
  async stream(
    command: string,
    event: string,
    message: ViciInput = {},
    options: RequestOptions = {},
  ): Promise<ViciSection[]> {
    return this.#ask((session) => session.stream(command, event, message, options));
  }

  /**
   * Runs a command that blocks (`initiate`, `terminate`), on a connection of its own. `timeoutMs` is the daemon's
   * limit, sent as `timeout`, which must be above zero: -1 would succeed at once and mean nothing.
   *
   * @throws ViciError; after `timeout` or `aborted` the daemon may still be at it: ending the connection does not
   * end the command.
   */
  async block(
    command: string,
    message: ViciInput,
    { timeoutMs, signal }: { readonly timeoutMs: number; readonly signal?: AbortSignal },
  ): Promise<ViciSection> {
    if (!(timeoutMs > 0)) throw new ViciError('unsendable', `${command} needs a time limit above zero`);
    const session = await ViciSession.open(this.#socketPath);
    try {
      return await session.request(
        command,
        { ...message, timeout: timeoutMs },
        { timeoutMs: timeoutMs + BLOCKING_GRACE_MS, ...(signal === undefined ? {} : { signal }) },
      );
    } finally {
      session.close();
    }
  }

  async version(): Promise<DaemonVersion> {
    return readVersion(await this.request('version'));
  }

  async statistics(): Promise<DaemonStatistics> {
    return readStatistics(await this.request('stats'));
  }

  /**
   * All IKE SAs with their children, or those of one connection. **Those that the daemon is busy with are left out**: it
   * would keep this, and every other command, waiting.
   */
  async ikeSas(connection?: string): Promise<IkeSa[]> {
    const message = { noblock: true, ike: connection };
    return (await this.stream('list-sas', 'list-sa', message)).flatMap(readIkeSas);
  }

  /**
   * The IKE SAs of one connection, also those that the daemon is busy with: it answers when it is done with them. Has a
   * connection of its own.
   *
   * @throws ViciError `timeout` where that takes longer
   */
  async settledIkeSas(connection: string, timeoutMs: number): Promise<IkeSa[]> {
    const session = await ViciSession.open(this.#socketPath);
    try {
      const message = { noblock: false, ike: connection };
      return (await session.stream('list-sas', 'list-sa', message, { timeoutMs })).flatMap(readIkeSas);
    } finally {
      session.close();
    }
  }

  async connections(): Promise<Connection[]> {
    return (await this.stream('list-conns', 'list-conn')).flatMap(readConnections);
  }

  async certificates(): Promise<Certificate[]> {
    return (await this.stream('list-certs', 'list-cert')).map(readCertificate);
  }

  async pools(): Promise<Pool[]> {
    return readPools(await this.request('get-pools'));
  }

  async algorithms(): Promise<ReadonlyMap<string, readonly string[]>> {
    return readAlgorithms(await this.request('get-algorithms'));
  }

  async #ask<T>(question: (session: ViciSession) => Promise<T>): Promise<T> {
    try {
      const answer = await question(await this.#session());
      this.#unanswered = 0;
      return answer;
    } catch (error) {
      this.#count(error);
      throw error;
    }
  }

  /** A refusal is an answer; a connection that ends says nothing. */
  #count(error: unknown): void {
    if (!(error instanceof ViciError)) return;
    if (error.code === 'refused') this.#unanswered = 0;
    if (error.code !== 'timeout' || ++this.#unanswered < SILENT_QUESTIONS) return;
    this.#unanswered = 0;
    this.emit('silent');
  }

  /** The connection for commands, made anew if it has ended; one only, however many ask at once. */
  async #session(): Promise<ViciSession> {
    for (;;) {
      this.#commands ??= ViciSession.open(this.#socketPath);
      const current = this.#commands;
      const forget = (): void => {
        if (this.#commands === current) this.#commands = undefined;
      };
      const session = await current.catch((error: ViciError) => {
        forget();
        throw error;
      });
      if (session.isOpen) return session;
      forget();
    }
  }

  async #connect(): Promise<void> {
    try {
      const events = await ViciSession.open(this.#socketPath);
      if (this.#state === 'stopped') return events.close();
      this.#events = events;
      void events.closed.then((error) => this.#lost(events, error));
      await this.#subscribe(events);
      this.#setState('reconciling');
      await this.#reconcile(this);
      if (this.#events !== events || !events.isOpen) return;
      this.#retryMs = RETRY_MS;
      this.#setState('up');
    } catch (error) {
      this.#failed(error instanceof ViciError ? error : new ViciError('closed', (error as Error).message));
    }
  }

  async #subscribe(events: ViciSession): Promise<void> {
    try {
      await Promise.all([...this.#handlers].map(([event, handler]) => events.subscribe(event, handler)));
    } catch (error) {
      this.#count(error);
      throw error;
    }
  }

  #lost(events: ViciSession, error: ViciError): void {
    if (this.#events === events) this.#failed(error);
  }

  #failed(error: ViciError): void {
    if (this.#state === 'stopped') return;
    this.#lastError = error;
    this.#drop();
    this.#setState('down', error);
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#again(), this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, MAX_RETRY_MS);
  }

  #again(): void {
    this.#retry = undefined;
    void this.#connect();
  }

  #drop(): void {
    const events = this.#events;
    this.#events = undefined;
    events?.close();
    void this.#commands?.then(
      (session) => session.close(),
      () => {},
    );
    this.#commands = undefined;
  }

  #setState(state: ViciClientState, error?: ViciError): void {
    if (this.#state === state) return;
    this.#state = state;
    this.emit('state', state, error);
  }
}
