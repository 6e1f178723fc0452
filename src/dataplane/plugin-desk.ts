/**
 * What is said to plugins and what they say, between two bursts: messages to and from their control halves, views, their
 * failures for the log, their status.
 *
 * Neighbours: `data-plane.ts` (hands requests over), `plugin-instances.ts` (whom they are for), `control-socket.ts`.
 */
import {
  type Counters,
  PLUGIN_CALLS,
  PLUGIN_FAILURES,
  PLUGIN_FAILURES_BY_CAUSE,
  PLUGIN_TIME_MS,
} from '../flow/counters.ts';
import type { PluginChain } from '../pipeline/plugin-chain.ts';
import type { LoadedPlugin, PluginFailure } from '../pipeline/plugin-link.ts';
import { DEFAULT_FAILURE_ACTION, FAILURE_CAUSES, type Json, MESSAGE_CONFIGURE } from '../plugin/contract.ts';
import { CAUSE_EXCEPTION } from '../plugin/failure-numbers.ts';
import { HOOK_MESSAGE, HOOK_QUERY } from '../plugin/running-plugin.ts';
import { readThrown, type Thrown } from '../plugin/thrown.ts';
import type { DataPlaneMessage } from './messages.ts';
import { type PluginCalls, PluginThrewError } from './plugin-calls.ts';
import type { PluginInstance } from './plugin-instance.ts';
import type { PluginInstances } from './plugin-instances.ts';
import type {
  PluginAnswerMessage,
  PluginMessage,
  PluginQueryRequest,
  PluginStatus,
} from './plugin-messages.ts';

/** Messages of one plugin that may wait for control. */
const MAX_WAITING = 256;
/** Of one plugin, as JSON. So much is the longest message, too. */
const MAX_WAITING_BYTES = 1024 * 1024;
/** The longest answer of a view, as JSON. */
const MAX_ANSWER_BYTES = 1024 * 1024;
/** No view is answered while more than this has not been sent: the connection is dropped for too much (`control-socket.ts`). */
const MAX_ANSWER_BACKLOG_BYTES = 2 * 1024 * 1024;
/** While more than this has not been sent, messages wait here, bytes. */
const MAX_BACKLOG_BYTES = 1024 * 1024;
/** A plugin's failures are logged that often at most. */
const FAILURE_LOG_MS = 1000;
/** Failures of one plugin and cause are news again after so long without one. */
const QUIET_MS = 60_000;
/** No failure yet. */
const NEVER = 0;

/** The way to control. */
export interface ControlPeer {
  readonly connected: boolean;
  /** What has not been sent yet. */
  readonly backlogBytes: number;
  send(message: DataPlaneMessage): void;
}

export type PluginLog = (
  plugin: string,
  level: 'debug' | 'info' | 'warn' | 'error',
  message: string,
  fields?: Readonly<Record<string, unknown>>,
  /** Lines of it are limited on their own. */
  topic?: string,
) => void;

export class PluginDesk {
  private readonly control: ControlPeer;
  private readonly calls: PluginCalls;
  private readonly log: PluginLog;
  private readonly waiting: { readonly message: PluginMessage; readonly bytes: number }[] = [];
  private readonly waitingOf = new Map<string, { count: number; bytes: number }>();
  private readonly failureLoggedMs = new Map<string, number>();
  /** By plugin, and cause: when it failed last. */
  private readonly failedMs = new Map<string, Int32Array>();

  constructor(control: ControlPeer, calls: PluginCalls, log: PluginLog) {
    this.control = control;
    this.calls = calls;
    this.log = log;
  }

  /**
   * Takes a message for a control half; false if too much waits, or it is too long or no JSON. In a call of the plugin: what
   * the body is may take code of its to find out, which may be ended. What follows may not.
   */
  take(plugin: string, body: Json): boolean {
    const queue = this.waitingOf.get(plugin) ?? { count: 0, bytes: 0 };
    if (queue.count >= MAX_WAITING) return false;
    const { text, bytes } = jsonOf(body);
    if (queue.bytes + bytes > MAX_WAITING_BYTES) return false;
    const message: PluginMessage = { type: 'plugin-message', plugin, body: JSON.parse(text) as Json };
    const { running } = this.calls;
    running.enterHost();
    queue.count++;
    queue.bytes += bytes;
    this.waitingOf.set(plugin, queue);
    this.waiting.push({ message, bytes });
    running.leaveHost();
    return true;
  }

  /** Sends what waits, as far as control takes it. */
  flush(): void {
    const { control, waiting } = this;
    let sent = 0;
    while (sent < waiting.length && control.connected && control.backlogBytes < MAX_BACKLOG_BYTES) {
      const { message, bytes } = waiting[sent++]!;
      const queue = this.waitingOf.get(message.plugin)!;
      queue.count--;
      queue.bytes -= bytes;
      try {
        control.send(message);
      } catch (error) {
        this.log(
          message.plugin,
          'error',
          `a message to its control half is lost: ${(error as Error).message}`,
        );
      }
    }
    waiting.splice(0, sent);
  }

  get isWaiting(): boolean {
    return this.waiting.length > 0;
  }

  /** A control half has sent something. */
  deliver({ plugin, body }: PluginMessage, instances: PluginInstances, chain: PluginChain): void {
    const place = instances.all.findIndex(({ name }) => name === plugin);
    const instance = instances.all[place];
    if (instance?.half.message === undefined || instance.standing.isTripped) return;
    try {
      const answer = this.calls.call(plugin, place, HOOK_MESSAGE, () => instance.half.message!(body));
      if (answer === MESSAGE_CONFIGURE) this.configureAnew(place, instances, chain);
    } catch (error) {
      chain.failed(place, thrownIn(error));
    }
  }

  private configureAnew(place: number, instances: PluginInstances, chain: PluginChain): void {
    const { name } = instances.all[place]!;
    let commit: () => void;
    try {
      commit = instances.configureAnew(place);
    } catch (error) {
      this.refusedAnew(name, (error as Error).message);
      return;
    }
    try {
      commit();
      this.log(name, 'info', 'what its options name was read anew and is in force');
    } catch (error) {
      chain.trip(
        place,
        CAUSE_EXCEPTION,
        `its configuration was not put into force: ${(error as Error).message}`,
      );
    }
  }

  /** A plugin that was configured anew was not ready for that, or not in time. */
  refusedAnew(plugin: string, why: string): void {
    this.log(plugin, 'error', `what its options name was read anew, and is not used: ${why}`);
  }

  /** A view of a data half is asked. */
  answer(request: PluginQueryRequest, instances: PluginInstances, chain: PluginChain | undefined): void {
    const { control } = this;
    if (control.backlogBytes > MAX_ANSWER_BACKLOG_BYTES) {
      control.send(refusal(request, 'unavailable', 'control has not taken earlier answers yet; ask again'));
      return;
    }
    control.send(this.answerTo(request, instances, chain));
  }

  private answerTo(
    request: PluginQueryRequest,
    instances: PluginInstances,
    chain: PluginChain | undefined,
  ): PluginAnswerMessage {
    const { plugin, view, parameters } = request;
    const refuse = (kind: RefusalKind, message: string): PluginAnswerMessage =>
      refusal(request, kind, message);
    const place = instances.all.findIndex(({ name }) => name === plugin);
    const instance = instances.all[place];
    if (instance === undefined) return refuse('unavailable', `no plugin ${plugin} runs`);
    const { trip } = instance.standing;
    if (trip !== undefined)
      return refuse('unavailable', `plugin ${plugin} is out of use since it failed: ${trip.message}`);
    if (instance.half.query === undefined)
      return refuse('unavailable', `plugin ${plugin} has no views of its data half`);
    try {
      return this.calls.call(plugin, place, HOOK_QUERY, () =>
        answerOf(request, instance.half.query!(view, parameters)),
      );
    } catch (error) {
      const thrown = thrownIn(error);
      if (thrown.name === 'PluginQueryError') return refuse('query', thrown.text);
      chain?.failed(place, thrown);
      return refuse('failed', `plugin ${plugin} failed at its view ${view}: ${thrown.text}`);
    }
  }

  /** A plugin has failed in the pipeline, or outside. */
  failed(plugin: LoadedPlugin, { cause, error, trips }: PluginFailure, nowMs: number): void {
    const { name } = plugin;
    const text = String(error);
    if (this.isNews(name, cause, nowMs) || trips) this.tell(plugin, cause, text, trips);
    const fields = { cause: FAILURE_CAUSES[cause] };
    if (trips) {
      this.log(name, 'error', `plugin ${name} is out of use from now on: ${text}`, fields);
      return;
    }
    const before = this.failureLoggedMs.get(name);
    if (before !== undefined && ((nowMs - before) | 0) < FAILURE_LOG_MS) return;
    this.failureLoggedMs.set(name, nowMs);
    this.log(name, 'error', `plugin ${name} failed: ${text}`, fields);
  }

  /** Whether the plugin has not failed by this cause before, or not for long. */
  private isNews(plugin: string, cause: number, nowMs: number): boolean {
    let failedMs = this.failedMs.get(plugin);
    if (failedMs === undefined) {
      failedMs = new Int32Array(FAILURE_CAUSES.length);
      this.failedMs.set(plugin, failedMs);
    }
    const before = failedMs[cause]!;
    failedMs[cause] = nowMs === NEVER ? 1 : nowMs;
    return before === NEVER || ((nowMs - before) | 0) >= QUIET_MS;
  }

  private tell(
    { name, failurePolicy }: LoadedPlugin,
    cause: number,
    message: string,
    tripped: boolean,
  ): void {
    const why = FAILURE_CAUSES[cause]!;
    const action = failurePolicy?.[tripped ? 'exception' : why] ?? DEFAULT_FAILURE_ACTION;
    this.control.send({ type: 'plugin-failed', plugin: name, cause: why, action, message, tripped });
  }

  /** How a plugin is, for control. */
  statusOf(instance: PluginInstance, place: number, counters: Counters, held: number): PluginStatus {
    const { name, version, standing } = instance;
    const byCause = FAILURE_CAUSES.map((cause, number) => [
      cause,
      counters.plugin(place, PLUGIN_FAILURES_BY_CAUSE + number),
    ]);
    return {
      name,
      version,
      state: standing.isTripped ? 'tripped' : 'running',
      tripped: standing.trip ?? null,
      failures: counters.plugin(place, PLUGIN_FAILURES),
      failuresByCause: Object.fromEntries(byCause) as PluginStatus['failuresByCause'],
      calls: counters.plugin(place, PLUGIN_CALLS),
      timeMs: counters.plugin(place, PLUGIN_TIME_MS),
      held,
      counters: Object.fromEntries(instance.counters),
    };
  }
}

type RefusalKind = NonNullable<PluginAnswerMessage['error']>['kind'];

function refusal({ id }: PluginQueryRequest, kind: RefusalKind, message: string): PluginAnswerMessage {
  return { type: 'plugin-answer', id, result: null, error: { kind, message } };
}

/** What a data half has answered, or why that cannot be told. To be called in its call: reading may run code of its. */
function answerOf(request: PluginQueryRequest, result: unknown): PluginAnswerMessage {
  const { text, bytes, fault } = jsonOf(result);
  const what = `plugin ${request.plugin} answers its view ${request.view} with`;
  if (fault !== '') return refusal(request, 'failed', `${what} what is no JSON: ${fault}`);
  if (bytes > MAX_ANSWER_BYTES) {
    return refusal(request, 'failed', `${what} ${bytes} bytes, more than ${MAX_ANSWER_BYTES}; ask for less`);
  }
  return { type: 'plugin-answer', id: request.id, result: JSON.parse(text) as Json };
}

/** Something as JSON, and how long that is, bytes of UTF-8; infinite, with the reason, if it cannot be that. */
function jsonOf(value: unknown): { readonly text: string; readonly bytes: number; readonly fault: string } {
  try {
    const text = JSON.stringify(value) as string | undefined;
    if (text !== undefined) return { text, bytes: Buffer.byteLength(text), fault: '' };
    return { text: '', bytes: Number.POSITIVE_INFINITY, fault: `it is ${typeof value}` };
  } catch (error) {
    return { text: '', bytes: Number.POSITIVE_INFINITY, fault: readThrown(error).text };
  }
}

function thrownIn(error: unknown): Thrown {
  return error instanceof PluginThrewError ? error.thrown : readThrown(error);
}
