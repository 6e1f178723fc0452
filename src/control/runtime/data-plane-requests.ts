/**
 * What may be asked of the data plane while one runs, and what it tells unasked. Who keeps it running is
 * `supervisor.ts`'s business.
 */
import { EventEmitter } from 'node:events';
import type {
  CaptureStartMessage,
  ControlMessage,
  DataPlaneMessage,
  DataPlaneStatus,
  LogMessage,
  ProbeAnsweredMessage,
} from '../../dataplane/messages.ts';
import type {
  PluginFailedMessage,
  PluginMessage,
  ReevaluatedMessage,
} from '../../dataplane/plugin-messages.ts';
import type { FlowConditions } from '../../flow/flow-conditions.ts';
import type { Explanation, Question } from '../../pipeline/explain/explanation.ts';
import type { DecidedVerdict, Json } from '../../plugin/contract.ts';
import { DataPlaneGoneError, type DataPlaneSession } from './data-plane-session.ts';

export type DataPlaneState = 'stopped' | 'starting' | 'running' | 'forwarding' | 'waiting';

export interface DataPlaneReport {
  readonly state: DataPlaneState;
  readonly pid: number | null;
  /** Starts after the first one or the adoption. */
  readonly restarts: number;
  /** Why it was last started anew. */
  readonly lastFailure: string | null;
}

export interface DataPlaneEvents {
  state: [report: DataPlaneReport];
  /** The data plane ended or had to be ended. */
  failure: [reason: string];
  log: [message: LogMessage];
  /** The reply to a probe has come. */
  probe: [message: ProbeAnsweredMessage];
  /** A data half has something to tell its control half. */
  'plugin-message': [message: PluginMessage];
  /** A plugin has failed. */
  'plugin-failed': [message: PluginFailedMessage];
  /** After a restart the data plane refused the plan that it ran before. */
  'plan-refused': [error: string];
}

export abstract class DataPlaneRequests extends EventEmitter<DataPlaneEvents> {
  /** With the data plane that runs; undefined while none does. */
  protected abstract get session(): DataPlaneSession | undefined;

  /**
   * Sends a request and waits for its answer, which is of this type.
   *
   * @throws DataPlaneGoneError
   */
  async ask<Type extends DataPlaneMessage['type']>(
    request: ControlMessage,
    type: Type,
  ): Promise<Extract<DataPlaneMessage, { readonly type: Type }>> {
    const { session } = this;
    if (session === undefined) throw new DataPlaneGoneError('no data plane runs');
    return await session.ask(request, type);
  }

  /** @throws DataPlaneGoneError */
  async status(): Promise<DataPlaneStatus> {
    return (await this.ask({ type: 'status' }, 'status')).status;
  }

  /**
   * Ends the flows that meet the conditions; resolves to their number.
   *
   * @throws DataPlaneGoneError, RangeError for conditions that make no sense
   */
  async flush(conditions: FlowConditions): Promise<number> {
    const { error, flows } = await this.ask({ ...conditions, type: 'flush' }, 'flushed');
    if (error !== undefined) throw new RangeError(error);
    return flows;
  }

  /**
   * What would become of a packet, or becomes of a flow; null if there is no such flow or port.
   *
   * @throws DataPlaneGoneError, RangeError for a question that makes no sense
   */
  async explain(question: Question): Promise<Explanation | null> {
    const { error, explanation } = await this.ask({ type: 'explain', question }, 'explained');
    if (error !== undefined) throw new RangeError(error);
    return explanation;
  }

  /**
   * Lets the data plane copy packets into a ring, until {@link stopCapture} or until nobody renews the ring's lease.
   * Resolves to why it does not, or to an empty string.
   *
   * @throws DataPlaneGoneError
   */
  async startCapture(capture: Omit<CaptureStartMessage, 'type'>): Promise<string> {
    return (await this.ask({ ...capture, type: 'capture-start' }, 'capture-started')).error;
  }

  stopCapture(id: number): void {
    this.session?.send({ type: 'capture-stop', id });
  }

  /** Tells a data half something; lost while no data plane runs. */
  sendToPlugin(plugin: string, body: Json): void {
    this.session?.send({ type: 'plugin-message', plugin, body });
  }

  /** Decides on a flow that a data half holds. */
  decide(plugin: string, holdToken: number, verdict: DecidedVerdict, reason: string): void {
    this.session?.send({ type: 'plugin-decide', plugin, holdToken, verdict, reason });
  }

  /**
   * Lets every live flow be judged anew by the plan that runs; resolves when that is done.
   *
   * @throws DataPlaneGoneError
   */
  async reevaluate(): Promise<Omit<ReevaluatedMessage, 'type'>> {
    const { flows, ended } = await this.ask({ type: 'reevaluate' }, 'reevaluated');
    return { flows, ended };
  }
}
