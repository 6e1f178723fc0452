/** What control and the data plane say to each other about plugins: the part of `messages.ts` that has to do with them. */
import type { DecidedVerdict, FailureAction, FailureCause, Json } from '../plugin/contract.ts';
import type { DivertedFlow } from '../plugin/diversion.ts';

/** From control to the data plane. */
export type PluginControlMessage =
  | PluginMessage
  | PluginDecideMessage
  | PluginQueryRequest
  | DivertedRequest
  | ReevaluateRequest;

/** From the data plane to control. */
export type PluginDataPlaneMessage =
  | PluginMessage
  | PluginFailedMessage
  | PluginAnswerMessage
  | DivertedMessage
  | ReevaluatedMessage;

/** A message from one half of a plugin to the other. Not answered; to a plugin that is not there: lost. */
export interface PluginMessage {
  readonly type: 'plugin-message';
  readonly plugin: string;
  readonly body: Json;
}

/** A plugin has failed: for the first time by this cause, or after some quiet time; or it was tripped. Unasked. */
export interface PluginFailedMessage {
  readonly type: 'plugin-failed';
  readonly plugin: string;
  readonly cause: FailureCause;
  /** What becomes of packets: of the one at hand, and, where it is tripped, of all from now on. */
  readonly action: FailureAction;
  /** A sentence. */
  readonly message: string;
  readonly tripped: boolean;
}

/** Decide on a flow that a plugin holds. Not answered; one that is not held any more is no error. */
export interface PluginDecideMessage {
  readonly type: 'plugin-decide';
  readonly plugin: string;
  readonly holdToken: number;
  readonly verdict: DecidedVerdict;
  /** In the plugin's own words; may be empty. */
  readonly reason: string;
}

/** Ask a view of a data half. Answered by `plugin-answer`. */
export interface PluginQueryRequest {
  readonly type: 'plugin-query';
  /** Control's number for it. */
  readonly id: number;
  readonly plugin: string;
  readonly view: string;
  readonly parameters: Json;
}

/** Tell whose flow it is that a proxy has got from this address and port. Answered by `diverted`. */
export interface DivertedRequest {
  readonly type: 'diverted';
  /** Name of the diversion's port. */
  readonly port: string;
  readonly protocol: 'tcp' | 'udp';
  readonly address: string;
  readonly sourcePort: number;
}

export interface DivertedMessage {
  readonly type: 'diverted';
  /** null: there is no such flow. */
  readonly flow: DivertedFlow | null;
}

/** Judge every live flow anew, by the plan that runs. Answered by `reevaluated`, when all is done. */
export interface ReevaluateRequest {
  readonly type: 'reevaluate';
}

export interface PluginAnswerMessage {
  readonly type: 'plugin-answer';
  readonly id: number;
  /** null where there is an error. */
  readonly result: Json;
  readonly error?: {
    /** `query`: the parameters cannot be; `failed`: the plugin failed; `unavailable`: nobody is there to ask. */
    readonly kind: 'query' | 'failed' | 'unavailable';
    readonly message: string;
  };
}

export interface ReevaluatedMessage {
  readonly type: 'reevaluated';
  readonly flows: number;
  /** How many of them were refused, and ended. */
  readonly ended: number;
}

/** A plugin as the data plane sees it. */
export interface PluginStatus {
  readonly name: string;
  /** Of the code that runs. */
  readonly version: string;
  readonly state: 'running' | 'tripped';
  /** Why it was tripped; null while it runs. */
  readonly tripped: { readonly cause: FailureCause; readonly message: string } | null;
  /** All of `failuresByCause`. */
  readonly failures: number;
  readonly failuresByCause: Readonly<Record<FailureCause, number>>;
  /** Calls of its hooks. */
  readonly calls: number;
  /** Time in them, milliseconds: an estimate. */
  readonly timeMs: number;
  /** Flows that wait for its decision. */
  readonly held: number;
  /** The plugin's own. */
  readonly counters: Readonly<Record<string, number>>;
}
