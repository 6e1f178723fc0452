/**
 * What is said to one data plane over one connection: questions and their answers, the plan, the heartbeat.
 *
 * ```
 *  open ── questions, answered in their order; one plan at a time; log lines and probes ──► closed
 *    │                                                                                        ▲
 *    └── the connection ends, or nothing is heard for too long: `failed`, once ── close ──────┘
 * ```
 *
 * Whoever waits for an answer when it is closed gets a {@link DataPlaneGoneError}.
 *
 * Neighbours: `data-plane-link.ts` (the connection), `supervisor.ts` (the owner), `dataplane/messages.ts`.
 */
import { EventEmitter } from 'node:events';
import {
  type ControlMessage,
  type DataPlaneMessage,
  HEARTBEAT_TIMEOUT_MS,
  type LogMessage,
  type ProbeAnsweredMessage,
} from '../../dataplane/messages.ts';
import type { PluginFailedMessage, PluginMessage } from '../../dataplane/plugin-messages.ts';
import type { Plan } from '../../pipeline/plan.ts';
import { PATIENCE } from '../../tunnel/patience.ts';
import type { DataPlaneLink } from './data-plane-link.ts';

const HEARTBEAT_CHECK_MS = 100;
const SILENCE_MS = HEARTBEAT_TIMEOUT_MS * PATIENCE;
/** Taking a plan maps and searches the flow memory, in one go: a loaded machine may need this long. */
const PLAN_TIMEOUT_MS = 15_000 * PATIENCE;
/** Between the end of the connection and the news of the process's end. */
const EXIT_GRACE_MS = 50;

/** The data plane did not take a plan; the former one goes on. */
export class PlanRefusedError extends Error {
  override readonly name = 'PlanRefusedError';
  readonly code = 'plan_refused';
}

/** The data plane is not there to be asked, or went away before it answered. */
export class DataPlaneGoneError extends Error {
  override readonly name = 'DataPlaneGoneError';
  readonly code = 'data_plane_gone';
}

interface SessionEvents {
  /** The data plane runs the plan that it was sent; its sender knows a moment later. */
  'plan-applied': [];
  log: [message: LogMessage];
  /** The reply to a probe has come. */
  probe: [message: ProbeAnsweredMessage];
  /** A data half has something to tell its control half. */
  'plugin-message': [message: PluginMessage];
  /** A plugin has failed. */
  'plugin-failed': [message: PluginFailedMessage];
  /** The connection is of no use any more. */
  failed: [reason: string];
}

interface PendingReply {
  resolve(message: DataPlaneMessage): void;
  reject(error: Error): void;
}

export class DataPlaneSession extends EventEmitter<SessionEvents> {
  readonly #link: DataPlaneLink;
  readonly #heartbeat: NodeJS.Timeout;
  #planReply: (PendingReply & { readonly generation: number }) | undefined;
  #replies: PendingReply[] = [];
  /** A re-evaluation takes many bursts, while other questions are answered: its answers are in an order of their own. */
  #reevaluations: PendingReply[] = [];
  #lastHeard = performance.now();
  #isOpen = true;

  /** @param link is this object's from now on. */
  constructor(link: DataPlaneLink) {
    super();
    this.#link = link;
    link.on('message', (message) => this.#receive(message));
    link.on('close', (reason) => {
      // If the process has ended, its exit status, which comes a moment later, says more.
      const why = reason === '' ? 'the data plane closed the connection' : reason;
      setTimeout(() => this.#fail(why), EXIT_GRACE_MS).unref();
    });
    let lastCheck = performance.now();
    this.#heartbeat = setInterval(() => {
      const now = performance.now();
      // If it was us who stood still, what it said meanwhile is yet to be read.
      if (now - lastCheck > SILENCE_MS / 2) this.#lastHeard = now;
      lastCheck = now;
      const limitMs = this.#planReply === undefined ? SILENCE_MS : PLAN_TIMEOUT_MS;
      if (now - this.#lastHeard > limitMs) this.#fail(`the data plane was silent for ${limitMs} ms`);
    }, HEARTBEAT_CHECK_MS);
  }

  /** What needs no answer. */
  send(message: ControlMessage): void {
    this.#link.send(message);
  }

  /**
   * Sends a request and waits for its answer, which is of this type.
   *
   * @throws DataPlaneGoneError
   */
  async ask<Type extends DataPlaneMessage['type']>(
    request: ControlMessage,
    type: Type,
  ): Promise<Extract<DataPlaneMessage, { readonly type: Type }>> {
    const reply = await new Promise<DataPlaneMessage>((resolve, reject) => {
      const waiting = request.type === 'reevaluate' ? this.#reevaluations : this.#replies;
      waiting.push({ resolve, reject });
      this.#link.send(request);
    });
    if (reply.type !== type) throw new DataPlaneGoneError('the data plane mixed up its answers');
    return reply as Extract<DataPlaneMessage, { readonly type: Type }>;
  }

  /**
   * Resolves when the data plane runs the plan.
   *
   * @throws PlanRefusedError, DataPlaneGoneError
   */
  async sendPlan(plan: Plan): Promise<void> {
    this.#planReply?.reject(new DataPlaneGoneError('a newer plan has taken the place of this one'));
    await new Promise<DataPlaneMessage>((resolve, reject) => {
      this.#planReply = { generation: plan.generation, resolve, reject };
      this.#link.send({ type: 'plan', plan });
    });
  }

  /** Ends the connection; those who wait for answers are told why. Nothing comes after this. */
  close(reason: string): void {
    this.#isOpen = false;
    clearInterval(this.#heartbeat);
    this.#link.removeAllListeners();
    this.#link.close();
    this.removeAllListeners();
    const waiting = [
      ...(this.#planReply === undefined ? [] : [this.#planReply]),
      ...this.#replies,
      ...this.#reevaluations,
    ];
    this.#planReply = undefined;
    this.#replies = [];
    this.#reevaluations = [];
    for (const { reject } of waiting) reject(new DataPlaneGoneError(reason));
  }

  #fail(reason: string): void {
    if (this.#isOpen) this.emit('failed', reason);
  }

  #receive(message: DataPlaneMessage): void {
    this.#lastHeard = performance.now();
    switch (message.type) {
      case 'plan-applied':
        if (this.#planReply?.generation !== message.generation) return;
        this.emit('plan-applied');
        this.#planReply.resolve(message);
        this.#planReply = undefined;
        return;
      case 'plan-refused':
        if (this.#planReply?.generation !== message.generation) return;
        this.#planReply.reject(new PlanRefusedError(message.error));
        this.#planReply = undefined;
        return;
      case 'status':
      case 'flushed':
      case 'explained':
      case 'capture-started':
      case 'probe-sent':
      case 'neighbor':
      case 'strays':
      case 'plugin-answer':
      case 'diverted':
        this.#replies.shift()?.resolve(message);
        return;
      case 'log':
        this.emit('log', message);
        return;
      case 'reevaluated':
        this.#reevaluations.shift()?.resolve(message);
        return;
      case 'plugin-message':
        this.emit('plugin-message', message);
        return;
      case 'plugin-failed':
        this.emit('plugin-failed', message);
        return;
      case 'probe-answered':
        this.emit('probe', message);
        return;
      default:
        return;
    }
  }
}
