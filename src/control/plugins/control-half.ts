/**
 * One control half while it lives: whatever it throws, at once or later, is counted and logged by its name, and ends
 * nothing.
 *
 * Its code runs in an asynchronous context of its own (`AsyncLocalStorage`): timers, promises and sockets that it
 * begins there inherit it, so that an exception which nobody catches can be told from one of control's own
 * ({@link halfOfException}). What cannot be guarded against is a loop without end: it stands in control's way, but not
 * in that of packets.
 *
 * Neighbours: `control-halves.ts` (the owner), `plugin/contract.ts` (what a half is).
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import {
  type ControlHalf as Half,
  type Json,
  type PluginConfiguration,
  type PluginControlEnvironment,
  PluginQueryError,
} from '../../plugin/contract.ts';
import { readThrown } from '../../plugin/thrown.ts';

/** A view that takes longer is given up. */
const VIEW_TIMEOUT_MS = 30_000;
/** Changes of the gateway wait for what is given this time: whoever takes longer is not waited for. */
const CALL_TIMEOUT_MS = 10_000;
const STOP_TIMEOUT_MS = 2_000;

const context = new AsyncLocalStorage<RunningHalf>();

/** The control half whose code has thrown what nobody caught; undefined: it was control's own. For the handler only. */
export function halfOfException(): RunningHalf | undefined {
  return context.getStore();
}

/** From now on these throw where a control half calls them: it may not end control. */
export function keepFromEnding(): void {
  for (const name of ['exit', 'reallyExit', 'abort'] as const) {
    const members = process as unknown as Record<string, unknown>;
    const original = members[name];
    if (typeof original !== 'function') continue;
    members[name] = (...values: unknown[]): unknown => {
      if (context.getStore() !== undefined)
        throw new Error(
          `a control half may not call process.${name}: it would end all of the gateway's control`,
        );
      return Reflect.apply(original, process, values);
    };
  }
}

/** What is told of a control half. */
export interface ControlHalfStatus {
  /** `failed`: it could not be made. */
  readonly state: 'running' | 'failed';
  readonly failures: number;
  /** Of the last failure; null: there was none. */
  readonly lastFailure: string | null;
  readonly counters: Readonly<Record<string, number>>;
}

/** What a half needs of control. */
export interface HalfHost {
  readonly name: string;
  log(level: 'debug' | 'info' | 'warn' | 'error', message: string): void;
  send(body: Json): void;
  prepareAnew(): void;
  decide: PluginControlEnvironment['decide'];
  diversion: PluginControlEnvironment['diversion'];
}

/** A view cannot be answered, for no fault of who asks. */
export class ViewFailedError extends Error {
  override readonly name = 'ViewFailedError';
}

export class RunningHalf {
  readonly name: string;
  readonly #host: HalfHost;
  readonly #counters = new Map<string, number>();
  #half: Half | undefined;
  #failures = 0;
  #lastFailure: string | null = null;
  /** Messages wait for the configuration under way. */
  #work: Promise<void> = Promise.resolve();
  #stopped = false;

  /** @param load gives what the `control` module exports; may throw */
  constructor(load: () => Readonly<Record<string, unknown>>, host: HalfHost) {
    this.name = host.name;
    this.#host = host;
    this.#guard(() => {
      const { createControlHalf: create } = load();
      if (typeof create !== 'function') throw new Error('its control module exports no createControlHalf');
      this.#half = create(this.#environment()) as Half;
    });
  }

  get status(): ControlHalfStatus {
    return {
      state: this.#half === undefined ? 'failed' : 'running',
      failures: this.#failures,
      lastFailure: this.#lastFailure,
      counters: Object.fromEntries(this.#counters),
    };
  }

  /** Resolves when it is taken, has failed, or takes too long. Never rejects. */
  configure(configuration: PluginConfiguration): Promise<void> {
    return this.#inTurn('configure', (half) => half.configure?.(configuration));
  }

  /** Messages are handed over in their order; one that is waited for by the half keeps none of the others back. */
  message(body: Json): void {
    this.#work = this.#work.then(() => {
      this.#guard((half) => half?.message?.(body));
    });
  }

  /** The namespace of one of its diversions was made. Resolves when it has taken that, or has failed. Never rejects. */
  diversionMade(name: string): Promise<void> {
    return this.#inTurn('diversionMade', (half) => half.diversionMade?.(name));
  }

  dataPlaneStarted(): void {
    void this.#inTurn('dataPlaneStarted', (half) => half.dataPlaneStarted?.());
  }

  /**
   * Asks one of its views.
   *
   * @throws PluginQueryError, ViewFailedError
   */
  async view(name: string, parameters: Json): Promise<Json> {
    const view = this.#half?.views?.[name];
    if (view === undefined) {
      throw new ViewFailedError(
        this.#half === undefined
          ? `the control half of ${this.name} does not run: ${this.#lastFailure}`
          : `the control half of ${this.name} has no view ${name}, which its manifest declares`,
      );
    }
    try {
      return await withTimeout(
        context.run(this, async () => view(parameters)),
        VIEW_TIMEOUT_MS,
        `view ${name}`,
      );
    } catch (error) {
      if (error instanceof PluginQueryError) throw error;
      this.failed(error);
      throw new ViewFailedError(`${this.name} cannot answer: ${textOf(error)}`);
    }
  }

  /** Ends it. Resolves when it has stopped, or does not. Never rejects. */
  async stop(): Promise<void> {
    const stopping = this.#inTurn('stop', (half) => half.stop?.());
    await withTimeout(stopping, STOP_TIMEOUT_MS, 'stop').catch(() => {});
    this.#stopped = true;
  }

  /** Something of its code has thrown. */
  failed(error: unknown): void {
    this.#failures++;
    this.#lastFailure = textOf(error);
    this.#host.log('error', `failed: ${this.#lastFailure}`);
  }

  #environment(): PluginControlEnvironment {
    return {
      name: this.name,
      log: (level, message) => this.#host.log(level, String(message)),
      counter: (name) => {
        if (!this.#counters.has(name)) this.#counters.set(name, 0);
        return () => this.#counters.set(name, this.#counters.get(name)! + 1);
      },
      send: (body) => {
        if (!this.#stopped) this.#host.send(body);
      },
      prepareAnew: () => {
        if (!this.#stopped) this.#host.prepareAnew();
      },
      decide: (holdToken, verdict, reason) => {
        if (!this.#stopped) this.#host.decide(holdToken, verdict, reason);
      },
      diversion: (name) => this.#host.diversion(name),
    };
  }

  /** Calls it behind what is under way, which must not keep everything after it waiting for ever. */
  #inTurn(what: string, call: (half: Half) => void | Promise<void>): Promise<void> {
    const done = this.#work.then(async () => {
      if (this.#half === undefined) return;
      try {
        await withTimeout(
          context.run(this, async () => call(this.#half!)),
          CALL_TIMEOUT_MS,
          what,
        );
      } catch (error) {
        this.failed(error);
      }
    });
    this.#work = done;
    return done;
  }

  #guard(call: (half: Half | undefined) => void | Promise<void>): void {
    try {
      context.run(this, () => call(this.#half))?.catch((error: unknown) => this.failed(error));
    } catch (error) {
      this.failed(error);
    }
  }
}

/** @param what is waited for, as the error names it */
async function withTimeout<T>(promise: Promise<T>, timeoutMs: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const error = new Error(`${what} was not done within ${timeoutMs / 1000} s`);
    timer = setTimeout(() => reject(error), timeoutMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

function textOf(error: unknown): string {
  return readThrown(error).text;
}
