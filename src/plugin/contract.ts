/**
 * The plugin contract: what a plugin's data half is given and what it answers.
 *
 * A plugin is a folder or package with a `manifest.json` ({@link PluginManifest}) whose `data` module exports
 * `createDataHalf` ({@link DataHalfFactory}). The data half runs in the data plane, synchronously, on the
 * packet's way. It may not keep the view, wait, allocate without need, or throw (a throw acts by the failure
 * policy, is counted and logged by the plugin's name).
 *
 * `flowSetup` runs once for a flow, before it exists, in the declared order. `accept` ends the policy plugins
 * only: plugins of the `routing` phase always run, and no flow exists without a pin or an explicit choice to
 * route its replies.
 */
import type { PacketView } from '../wire/packet.ts';

/** Answers of `flowSetup`. `hold` and `divert` have numbers already; a pipeline that lacks them drops. */
export const VERDICT_CONTINUE = 0;
export const VERDICT_ACCEPT = 1;
export const VERDICT_DROP = 2;
export const VERDICT_REJECT = 3;
export const VERDICT_HOLD = 4;
export const VERDICT_DIVERT = 5;

/** Answers of `packet`. */
export const PACKET_PASS = 0;
/** Pass, and do not show this plugin any more packets of this flow. */
export const PACKET_DONE = 1;
export const PACKET_DROP = 2;
/** Drop this packet and all that follow: the flow ends, its tuple stays held. */
export const PACKET_DROP_FLOW = 3;

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

/** What follows the bytes that `stream` is shown: more, as far as anybody knows. */
export const FOLLOWS_MORE = 0;
/** Nothing: the sender has finished. */
export const FOLLOWS_END = 1;
/**
 * Nothing that this plugin will see before it decides: it has had as many bytes as it asked for, or as can be held back
 * at once, or they were held back for as long as they can be. `STREAM_NEED_MORE` acts by the failure policy now.
 */
export const FOLLOWS_NOTHING_YET = 2;

/** As many bytes as `streamOriginator` or `streamReply` may ask for: all of them. */
export const STREAM_WHOLE = -1;

/** How replies of a flow find their way; set by a plugin of the `routing` phase. */
export const RETURN_UNSET = 0;
/** Through the tunnel the originator's packets come in by: the pin. */
export const RETURN_PINNED = 1;
/** By route, within the originator's site (`automatic_return_routing: false`). */
export const RETURN_ROUTED = 2;

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
  /** Milliseconds since boot as int32: compare by difference. */
  readonly nowMs: number;
  /** Whether the ingress tunnel has automatic return routing switched on. */
  readonly automaticReturnRouting: boolean;
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

/** The synchronous half of a plugin. All hooks but `flowSetup` are optional. */
export interface DataHalf {
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
  flowEnd?(flow: FlowHandle, statistics: FlowStatistics): void;
  /** Takes new options, all or nothing: throws and changes nothing if they are wrong. */
  configure?(options: unknown): void;
  exportState?(): unknown;
  importState?(state: unknown): void;
}

/** A tunnel or an egress: what `ingressPort` and `egressPort` are numbers of. */
export interface PluginPort {
  readonly index: number;
  readonly name: string;
  readonly kind: 'tunnel' | 'egress';
  /** Name of its site; undefined for an egress. */
  readonly site: string | undefined;
  /** Its address space. */
  readonly space: number;
}

/** An address space: what `originatorSpace` and `responderSpace` are numbers of. */
export interface PluginSpace {
  readonly id: number;
  /** Name of the site; undefined for an egress. */
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

/** What a plugin is given at start. */
export interface PluginEnvironment {
  readonly name: string;
  readonly options: unknown;
  /** Of the plan that is being applied, or applies: another one before `configure` is called for another plan. */
  readonly topology: PluginTopology;
  /** Logs with the plugin's name; rate-limited. Not for packets. */
  log(level: 'debug' | 'info' | 'warn' | 'error', message: string): void;
  /** Registers a counter of the plugin's own; returns the function that increments it. */
  counter(name: string): () => void;
  /** Names the reason of the verdict that `flowSetup` is about to return: for explanations. Cheap if the text is. */
  reason(text: string): void;
}

export type DataHalfFactory = (environment: PluginEnvironment) => DataHalf;

export type PluginPhase = 'policy' | 'routing';

export interface PluginManifest {
  readonly name: string;
  readonly version: string;
  /** Module of the data half, relative to the manifest. */
  readonly data: string;
  readonly phase: PluginPhase;
  readonly hooks: readonly ('flowSetup' | 'flowStart' | 'packet' | 'stream' | 'ingressChanged' | 'flowEnd')[];
  readonly runs_before?: readonly string[];
  readonly runs_after?: readonly string[];
  /** What happens to a packet whose plugin fails. */
  readonly failure_policy: 'closed' | 'open';
  /** JSON Schema of the options. */
  readonly options?: Readonly<Record<string, unknown>>;
}
