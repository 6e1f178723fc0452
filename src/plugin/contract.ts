/**
 * The plugin contract: what a plugin is given and what it answers.
 *
 * A plugin is a folder or package with a `manifest.json` ({@link PluginManifest}) whose `data` module exports
 * `createDataHalf` ({@link DataHalfFactory}). The data half runs in the data plane, synchronously, on the
 * packet's way. It may not keep the view, wait, allocate without need, or throw (a failure acts by the plugin's policy
 * for its cause, is counted and logged by the plugin's name). An optional `control` module exports `createControlHalf`
 * ({@link ControlHalfFactory}), which runs in the control process and may wait; the halves exchange messages.
 *
 * `flowSetup` runs once for a flow, before it exists, in the resolved order. `accept` ends the policy plugins
 * only: plugins of the `routing` phase always run, and no flow exists without a pin or an explicit choice to
 * route its replies.
 *
 * An instance of a data half lives for as long as its plugin is configured with the same name, manifest and code:
 * other options or another topology come by `configure`. `docs/plugins.md` draws its life.
 */
import type { PacketView } from '../wire/packet.ts';
import type { PluginDiversion, PluginDiversionManifest } from './diversion.ts';

/** What `homeward` in a manifest must say. */
export const CONTRACT_VERSION = 1;

/** Answers of `flowSetup`. */
export const VERDICT_CONTINUE = 0;
/** The flow may be, as far as policy goes: no other policy plugin is asked. */
export const VERDICT_ACCEPT = 1;
export const VERDICT_DROP = 2;
/** Drop, and tell the sender: TCP reset, else ICMP unreachable. */
export const VERDICT_REJECT = 3;
/** Wait for {@link PluginControlEnvironment.decide}; see {@link FlowSetup.holdMs}. */
export const VERDICT_HOLD = 4;
/** Hand the flow to the proxy of this plugin's {@link FlowSetup.diversion}; the other plugins are asked all the same. */
export const VERDICT_DIVERT = 5;
/** The plugin cannot make sense of the packet: acts by its policy for `unparsable`. */
export const VERDICT_UNPARSABLE = 6;

/** Verdicts by number, as `decide` and explanations name them. */
export const VERDICT_NAMES = [
  'continue',
  'accept',
  'drop',
  'reject',
  'hold',
  'divert',
  'unparsable',
] as const;

/** What `decide` may answer for a held flow, and what `holdDefault` may be: {@link VERDICT_NAMES} 0 to 3. */
export type DecidedVerdict = 'continue' | 'accept' | 'drop' | 'reject';

/** Answer to a message: configure me anew with what I run with. */
export const MESSAGE_CONFIGURE = 1;

/** Answers of `packet`. */
export const PACKET_PASS = 0;
/** Pass, and do not show this plugin any more packets of this flow. */
export const PACKET_DONE = 1;
export const PACKET_DROP = 2;
/** Drop this packet and all that follow: the flow ends, its tuple stays held. */
export const PACKET_DROP_FLOW = 3;
/** The plugin cannot make sense of the packet: acts by its policy for `unparsable`. */
export const PACKET_UNPARSABLE = 4;
/** The plugin has not seen the beginning of this flow, and needs it: acts by its policy for `midstream`. */
export const PACKET_MIDSTREAM = 5;

/** Answers of `stream`. Every answer is about all bytes that it was shown; those of a plugin that passed stand. */
export const STREAM_PASS = 0;
/** Deliver none of these bytes yet: they are shown again, with those that follow. */
export const STREAM_NEED_MORE = 1;
/** Pass these bytes and all that follow in this direction; show this plugin no more of it. */
export const STREAM_DONE = 2;
/** Deliver none of these bytes and nothing more: the flow ends, its tuple stays held, nobody is told. */
export const STREAM_DROP_FLOW = 3;
/** The same, and both ends are told by a reset. */
export const STREAM_RESET_FLOW = 4;
/** The plugin cannot make sense of the bytes: acts by its policy for `unparsable`. */
export const STREAM_UNPARSABLE = 5;

/** What follows the bytes that `stream` is shown: more, as far as anybody knows. */
export const FOLLOWS_MORE = 0;
/** Nothing: the sender has finished. */
export const FOLLOWS_END = 1;
/** Nothing that this plugin asked for. As with an end, `STREAM_NEED_MORE` acts by the policy for `unparsable`. */
export const FOLLOWS_NOTHING_WANTED = 2;
/** Nothing before it decides: no more can be held back. `STREAM_NEED_MORE` acts by the policy for `memory`. */
export const FOLLOWS_NO_ROOM = 3;
/** Nothing before it decides: it was waited for as long as can be. `STREAM_NEED_MORE` acts by the policy for `timeout`. */
export const FOLLOWS_TOO_LATE = 4;

/** As many bytes as `streamOriginator` or `streamReply` may ask for: all of them. */
export const STREAM_WHOLE = -1;

/** How replies of a flow find their way; set by a plugin of the `routing` phase. */
export const RETURN_UNSET = 0;
/** Through the tunnel the originator's packets come in by: the pin. */
export const RETURN_PINNED = 1;
/** By route, within the originator's site (`automatic_return_routing: false`). */
export const RETURN_ROUTED = 2;

/**
 * Why a plugin has failed, by number.
 *
 * - `exception`: it threw. While it is tripped, this one's action stands for the plugin.
 * - `timeout`: it did not return in time, or nobody has decided on a held flow in time.
 * - `memory`: it asked for memory that is not there, or there was no room to hold another flow.
 * - `midstream`: it is shown a flow whose beginning it has not seen, or whose per-flow state is lost.
 * - `unparsable`: it says that it cannot make sense of a packet.
 */
export const FAILURE_CAUSES = ['exception', 'timeout', 'memory', 'midstream', 'unparsable'] as const;
export type FailureCause = (typeof FAILURE_CAUSES)[number];

/**
 * What happens to a packet whose plugin has failed, by number. In `flowSetup` there is no flow yet: what drops refuses
 * the packet, and the next one of its tuple is judged anew; what passes goes on to the next plugin.
 *
 * - `drop-packet`: this packet is dropped, the flow goes on.
 * - `drop-flow`: the flow ends, its tuple stays held.
 * - `reject`: likewise, and the sender is told.
 * - `pass-packet`: this packet goes on as if the plugin had let it pass.
 * - `pass-flow`: likewise, and the plugin is not shown any more of this flow.
 */
export const FAILURE_ACTIONS = ['drop-packet', 'drop-flow', 'reject', 'pass-packet', 'pass-flow'] as const;
export type FailureAction = (typeof FAILURE_ACTIONS)[number];

/** An action for every cause. */
export type FailurePolicy = Readonly<Record<FailureCause, FailureAction>>;

/** What a cause acts by that neither manifest nor configuration names. */
export const DEFAULT_FAILURE_ACTION: FailureAction = 'drop-flow';

/** A flow's state in bytes: the most that a manifest may ask for, in `flow_state_bytes`. */
export const MAX_FLOW_STATE_BYTES = 64;
/** The longest that a flow may be held. */
export const MAX_HOLD_MS = 5000;

/** A value that JSON has. */
export type Json =
  | null
  | boolean
  | number
  | string
  | readonly Json[]
  | { readonly [key: string]: Json | undefined };

/** Thrown by `configure`: the options cannot be used. */
export class PluginOptionsError extends Error {
  override readonly name = 'PluginOptionsError';
  /** Where in the options, as `rules[3].match`; empty for all of them. */
  readonly path: string;

  constructor(path: string, message: string) {
    super(message);
    this.path = path;
  }
}

/** Thrown by `query` and by views: what was asked cannot be answered. Whoever asked is told the message. */
export class PluginQueryError extends Error {
  override readonly name = 'PluginQueryError';
}

/** A flow that is about to exist. One object, reused; nothing of it may be kept. */
export interface FlowSetup {
  /** Port the first packet came in by. */
  readonly ingressPort: number;
  /** Port it will leave by. */
  readonly egressPort: number;
  /** Originator's address space. */
  readonly originatorSpace: number;
  /** Responder's address space. */
  readonly responderSpace: number;
  /**
   * Somebody only asks what would become of such a packet: judge it as any other, and remember and count nothing, for
   * there will be no flow.
   */
  readonly hypothetical: boolean;
  /**
   * The flow is there already, and is judged again by what is configured now. The packet is made up from its record;
   * {@link state} is what the flow has. Nothing begins: no `flowStart` follows; `hold` becomes `holdDefault`.
   */
  readonly reevaluated: boolean;
  /** Milliseconds since boot as int32: compare by difference. */
  readonly nowMs: number;
  /** Whether the ingress tunnel has automatic return routing switched on. */
  readonly automaticReturnRouting: boolean;
  /**
   * This plugin's state of the flow, as many words as `flow_state_bytes` in the manifest asks for, from
   * {@link stateAt} on; zeroed. The flow takes over what is written here.
   */
  readonly state: Int32Array;
  /** First word of the flow's state in {@link state}. */
  readonly stateAt: number;
  /** One of `RETURN_...`; plugins of the `routing` phase set it. */
  returnRouting: number;
  /** Set by a plugin that wants `packet` called for this flow. */
  wantsPackets: boolean;
  /** Beside `wantsPackets`: never more than one packet as it was on the wire, offloads undone. Costs all of them. */
  wantsWirePackets: boolean;
  /**
   * TCP: set by a plugin that wants `stream` called with the first so many bytes that the originator sends, or with
   * {@link STREAM_WHOLE}; 0: with none. What is read is delivered after it was judged, see docs/streams.md.
   */
  streamOriginator: number;
  /** The same for what the responder sends. */
  streamReply: number;
  /** For `divert`: which of the manifest's `diversions`, from 0; the first unless set. */
  diversion: number;
  /** For `hold`: names the flow that is held to `decide`. Send it to the control half before answering. */
  readonly holdToken: number;
  /** For `hold`: how long to wait, milliseconds, at most {@link MAX_HOLD_MS}; 1000 unless set. */
  holdMs: number;
  /** For `hold`: the verdict (`VERDICT_CONTINUE` to `VERDICT_REJECT`) when nobody has decided in time; drop unless set. */
  holdDefault: number;
}

/** A live flow as `packet`, `ingressChanged` and `flowEnd` see it. One object, reused. */
export interface FlowHandle {
  readonly id: number;
  readonly record: number;
  /** 0 originator, 1 reply: of the packet at hand. */
  readonly direction: number;
  readonly originatorSpace: number;
  readonly responderSpace: number;
  readonly ingressPort: number;
  /** This plugin's state of the flow: see {@link FlowSetup.state}. */
  readonly state: Int32Array;
  readonly stateAt: number;
}

/** A live flow as `stream` sees it. One object, reused. */
export interface StreamHandle extends FlowHandle {
  /** How many bytes of this direction came before the first one shown, modulo 2^31. */
  readonly position: number;
}

export interface FlowStatistics {
  readonly packetsOriginator: number;
  readonly bytesOriginator: number;
  readonly packetsReply: number;
  readonly bytesReply: number;
}

/** The hooks on the packet's way. */
export interface PacketHooks {
  flowSetup(packet: PacketView, flow: FlowSetup): number;
  /**
   * The flow that `flowSetup` was asked about last exists now: nobody refused it. `packet` is its first. No `flowStart`
   * comes for flows that were there before the plugin; their `flowEnd` comes all the same.
   */
  flowStart?(packet: PacketView, flow: FlowHandle): void;
  packet?(packet: PacketView, flow: FlowHandle): number;
  /**
   * The next bytes of `flow.direction`, in order and each once (again after `STREAM_NEED_MORE`): `length` bytes of `bytes`
   * from `offset`. They may not be changed or kept, nor any other be read. `follows` is one of `FOLLOWS_...`; with an end
   * there may be no bytes at all.
   */
  stream?(flow: StreamHandle, bytes: Uint8Array, offset: number, length: number, follows: number): number;
  /** The originator's packets now come by another tunnel of the same site. */
  ingressChanged?(flow: FlowHandle): void;
  /** The flow has ended. Comes for every flow, also for those that this plugin was never asked about. */
  flowEnd?(flow: FlowHandle, statistics: FlowStatistics): void;
}

/** What `configure` is given. */
export interface PluginConfiguration {
  /** As they stand in the configuration, checked by the manifest's schema. Undefined where {@link prepared} is there. */
  readonly options: unknown;
  readonly topology: PluginTopology;
  /**
   * For data halves whose manifest names a `prepare` module: what that has made of options and topology. Undefined where
   * nothing was prepared, as in tests: then they have the options themselves.
   */
  readonly prepared?: Uint8Array | undefined;
}

/** The synchronous half of a plugin. */
export interface DataHalf extends PacketHooks {
  /**
   * Prepares everything for these options and this topology and changes nothing yet; returns the function that puts it
   * into force, which must not fail. Called once before any other hook, then whenever options or topology are others, and
   * by `plugins reload`: files that options name are read here. All plugins of a plan are prepared before one commits.
   *
   * @throws PluginOptionsError; the whole plan is refused then
   */
  configure(configuration: PluginConfiguration): () => void;
  /**
   * What the control half has sent. Between two bursts: be quick. Who answers {@link MESSAGE_CONFIGURE} is configured
   * anew with what it runs with, as when files that options name have changed: if that is refused or takes too long,
   * everything stays as it was.
   */
  message?(body: Json): unknown;
  /**
   * Answers a view whose half is `data`. Between two bursts: be quick.
   *
   * @throws PluginQueryError if the parameters cannot be
   */
  query?(view: string, parameters: Json): Json;
  /** What another instance of this plugin needs to go on: on reload of changed code and on an orderly stop. */
  exportState?(): Json;
  /**
   * Takes over what an instance of this `version` of the plugin has exported. After the first `configure`.
   * `keepsFlowState`: flows still have the state that the other instance has given them; after a stop, and where
   * `flow_state_bytes` is another, they have not.
   */
  importState?(state: Json, version: string, keepsFlowState: boolean): void;
}

/** A tunnel, an egress or a diversion (`PLUGIN/DIVERSION`): what `ingressPort` and `egressPort` are numbers of. */
export interface PluginPort {
  readonly index: number;
  /** With another one it is another tunnel or egress, whatever its index and name: what is remembered of the former ends. */
  readonly generation: number;
  readonly name: string;
  readonly kind: 'tunnel' | 'egress' | 'diversion';
  /** Name of its site; undefined for any other. */
  readonly site: string | undefined;
  /** Its address space. */
  readonly space: number;
}

/** An address space: what `originatorSpace` and `responderSpace` are numbers of. */
export interface PluginSpace {
  readonly id: number;
  /** Name of the site; undefined for any other. */
  readonly site: string | undefined;
  /** Prefixes that the site declares, as text. */
  readonly prefixes: readonly string[];
}

/** What the numbers of a plan mean. */
export interface PluginTopology {
  readonly ports: readonly PluginPort[];
  readonly spaces: readonly PluginSpace[];
  /** Records of the flow table: `record` of a flow is below this. */
  readonly maxFlows: number;
}

/** What a data half is given at its creation. */
export interface PluginEnvironment {
  readonly name: string;
  /**
   * Logs with the plugin's name. Lines are limited: 20 at once and one in three seconds after that; those of a `topic`
   * on their own. How many were held back is told with the next one.
   */
  log(level: 'debug' | 'info' | 'warn' | 'error', message: string, topic?: string): void;
  /**
   * Registers a counter of the plugin's own, here or in `configure`; returns the function that increments it. The same
   * name again is the same counter.
   */
  counter(name: string): () => void;
  /** Names the reason of the verdict that `flowSetup` is about to return: for explanations. Cheap if the text is. */
  reason(text: string): void;
  /** Milliseconds since boot as int32, as of the packet at hand: compare by difference. */
  nowMs(): number;
  /**
   * Sends a message to the control half, later: the body must not change any more. False if the queue is full, as when
   * control is away for long, or the message has more than 1 MiB as JSON; then it is not sent.
   */
  send(body: Json): boolean;
}

export type DataHalfFactory = (environment: PluginEnvironment) => DataHalf;

/** What a control half is given at its creation. */
export interface PluginControlEnvironment {
  readonly name: string;
  log(level: 'debug' | 'info' | 'warn' | 'error', message: string): void;
  /** As the data half's; the two halves' counters have names of their own. */
  counter(name: string): () => void;
  /** Sends a message to the data half. Messages arrive in their order; what a data plane that ended had not read is lost. */
  send(body: Json): void;
  /**
   * Has the plugin's `prepare` module run anew, since files that options name have changed, and the data half configured
   * with what comes out. What is wrong is logged, and all stays as it was.
   */
  prepareAnew(): void;
  /** Decides on a flow that the data half holds. Too late or twice: nothing happens. */
  decide(holdToken: number, verdict: DecidedVerdict, reason?: string): void;
  /** One of the diversions that the manifest declares. @throws Error for any other */
  diversion(name: string): PluginDiversion;
}

/** The asynchronous half of a plugin. What it throws or rejects is counted and logged, and ends nothing. */
export interface ControlHalf {
  /** Options or topology are others now, in the data half too. */
  configure?(configuration: PluginConfiguration): void | Promise<void>;
  message?(body: Json): void | Promise<void>;
  /** Answers to the views whose half is `control`, by name. A {@link PluginQueryError} is told to who asked. */
  views?: Readonly<Record<string, (parameters: Json) => Promise<Json>>>;
  /**
   * The namespace of this diversion is there, and empty: begin the proxy in it, then say `ready`. Comes after `configure`,
   * and again whenever somebody has deleted the namespace.
   */
  diversionMade?(name: string): void | Promise<void>;
  /** A data plane has begun with this plugin: what a former one was told is lost. */
  dataPlaneStarted?(): void;
  stop?(): void | Promise<void>;
}

export type ControlHalfFactory = (environment: PluginControlEnvironment) => ControlHalf;

/** What a `check` module finds wrong with options. */
export interface OptionsFinding {
  /** As in {@link PluginOptionsError.path}. */
  readonly path: string;
  readonly message: string;
}

/** `checkOptions` of a `check` module: changes nothing, and is run wherever a configuration is looked at. */
export type OptionsCheck = (configuration: PluginConfiguration) => readonly OptionsFinding[];

/**
 * `prepareOptions` of a `prepare` module: what of `configure` takes long, done in a thread of its own outside of the data
 * plane. Files that options name are read here. The same configuration and files should give the same bytes, for these
 * are how another configuration is known.
 *
 * @throws PluginOptionsError; the whole plan is refused then
 */
export type OptionsPreparation = (configuration: PluginConfiguration) => Uint8Array;

export type PluginPhase = 'policy' | 'routing';

export type PluginHook = keyof PacketHooks;

/** A view that a manifest declares. */
export interface PluginViewManifest {
  readonly summary: string;
  /** JSON Schema of the parameters; none if absent. */
  readonly parameters?: Readonly<Record<string, unknown>>;
  readonly half: 'data' | 'control';
}

/** A command that a manifest declares: `homeward PLUGIN VERB`. */
export interface PluginCommandManifest {
  readonly summary: string;
  readonly description?: string;
  /** The view that it asks. */
  readonly view: string;
  readonly flags?: Readonly<Record<string, PluginFlagManifest>>;
  readonly examples?: readonly string[];
}

export interface PluginFlagManifest {
  readonly summary: string;
  readonly type: 'string' | 'integer' | 'boolean';
  readonly required?: boolean;
  readonly multiple?: boolean;
}

export interface PluginManifest {
  readonly name: string;
  readonly version: string;
  /** {@link CONTRACT_VERSION}. */
  readonly homeward: number;
  /**
   * Modules, relative to the manifest: of the data half, of the control half, of {@link OptionsCheck} and of
   * {@link OptionsPreparation}.
   */
  readonly data: string;
  readonly control?: string;
  readonly check?: string;
  readonly prepare?: string;
  readonly phase: PluginPhase;
  readonly hooks: readonly PluginHook[];
  readonly runs_before?: readonly string[];
  readonly runs_after?: readonly string[];
  /** What happens to a packet whose plugin fails, by cause; {@link DEFAULT_FAILURE_ACTION} where nothing is said. */
  readonly failure_policy?: Partial<FailurePolicy>;
  /** State that each flow has for this plugin: a multiple of 4, at most {@link MAX_FLOW_STATE_BYTES}. */
  readonly flow_state_bytes?: number;
  /** Where its verdict `divert` may lead flows to. */
  readonly diversions?: readonly PluginDiversionManifest[];
  /** JSON Schema (2020-12) of the options. */
  readonly options?: Readonly<Record<string, unknown>>;
  readonly views?: Readonly<Record<string, PluginViewManifest>>;
  readonly commands?: Readonly<Record<string, PluginCommandManifest>>;
}
