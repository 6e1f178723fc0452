/**
 * A plugin as the chain runs it: hooks, policy and standing side by side, in objects of one shape. And what plugins are
 * shown: the flow that is about to be, and the one that is.
 *
 * Neighbours: `plugin-chain.ts` (runs them), `dataplane/plugin-instances.ts` (makes what is handed in here).
 */
import {
  type FailurePolicy,
  type FlowSetup,
  type PacketHooks,
  type PluginPhase,
  RETURN_UNSET,
  type StreamHandle,
  VERDICT_DROP,
} from '../plugin/contract.ts';
import { actionNumbers } from '../plugin/failure-numbers.ts';
import { PluginStanding } from './plugin-standing.ts';

const NO_STATE: Int32Array = new Int32Array(0);

/** A plugin as it is handed in with a plan. */
export interface LoadedPlugin {
  readonly name: string;
  readonly phase: PluginPhase;
  readonly half: PacketHooks;
  /** What becomes of packets when it fails; `drop-flow` for causes that are not named. */
  readonly failurePolicy?: Partial<FailurePolicy>;
  /** Names of the ports by which the flows come in that it is asked about; absent: all. */
  readonly ports?: 'all' | readonly string[];
  /** What is kept of it over plans; absent: nothing. */
  readonly standing?: PluginStanding;
  /** What its half last said of a verdict of its; an empty string if nothing. */
  reason?: string;
}

/** A failure, for who logs it. */
export interface PluginFailure {
  /** One of `CAUSE_...`. */
  readonly cause: number;
  /** What was thrown, or a sentence. */
  readonly error: unknown;
  /** Whether the plugin is tripped by this one. */
  readonly trips: boolean;
}

export type OnPluginFailure = (plugin: LoadedPlugin, failure: PluginFailure) => void;

export class PluginLink {
  readonly plugin: LoadedPlugin;
  readonly name: string;
  readonly isPolicy: boolean;
  half: PacketHooks;
  /** By `CAUSE_...`. */
  readonly actions: Uint8Array;
  readonly standing: PluginStanding;
  readonly watchesPackets: boolean;
  readonly readsStreams: boolean;

  constructor(plugin: LoadedPlugin, capacity: number) {
    this.plugin = plugin;
    this.name = plugin.name;
    this.isPolicy = plugin.phase === 'policy';
    this.half = plugin.half;
    this.actions = actionNumbers(plugin.failurePolicy ?? {});
    this.standing = plugin.standing ?? new PluginStanding();
    this.standing.fit(capacity);
    this.watchesPackets = plugin.half.packet !== undefined;
    this.readsStreams = plugin.half.stream !== undefined;
  }
}

/** The flow that is about to exist; reused for every new flow. */
export class FlowDraft implements FlowSetup {
  ingressPort = 0;
  egressPort = 0;
  originatorSpace = 0;
  responderSpace = 0;
  hypothetical = false;
  reevaluated = false;
  nowMs = 0;
  automaticReturnRouting = true;
  returnRouting = RETURN_UNSET;
  wantsPackets = false;
  wantsWirePackets = false;
  streamOriginator = 0;
  streamReply = 0;
  diversion = 0;
  state = NO_STATE;
  stateAt = 0;
  holdToken = 0;
  holdMs = 0;
  holdDefault = VERDICT_DROP;

  /** Whether what plugins set are numbers still. What is not becomes one: reading it could run code of theirs. */
  isSound(): boolean {
    if (
      typeof this.streamOriginator === 'number' &&
      typeof this.streamReply === 'number' &&
      typeof this.returnRouting === 'number' &&
      typeof this.diversion === 'number' &&
      typeof this.holdMs === 'number' &&
      typeof this.holdDefault === 'number'
    )
      return true;
    this.streamOriginator = 0;
    this.streamReply = 0;
    this.returnRouting = RETURN_UNSET;
    this.diversion = 0;
    this.holdMs = 0;
    this.holdDefault = VERDICT_DROP;
    return false;
  }
}

/** A live flow as hooks see it; reused. */
export class LiveFlow implements StreamHandle {
  id = 0;
  record = 0;
  direction = 0;
  originatorSpace = 0;
  responderSpace = 0;
  ingressPort = 0;
  state = NO_STATE;
  stateAt = 0;
  position = 0;
}

/** What became of a flow at one plugin. */
export interface PluginVerdict {
  readonly plugin: string;
  /**
   * One of `VERDICT_...`, or `failed`, `tripped`; `skipped`: one before it has accepted the flow; `elsewhere`: it is not
   * asked about flows that come in by this port.
   */
  readonly verdict: number | 'failed' | 'tripped' | 'skipped' | 'elsewhere';
  /** In the plugin's own words; may be empty. */
  readonly reason: string;
  readonly wantsPackets: boolean;
}

/** What of a plan concerns the chain. */
export interface ChainPlan {
  /** Flow records that there may be. */
  readonly capacity: number;
  /** Ports that plugins are enabled for by name. */
  readonly ports: readonly {
    readonly index: number;
    readonly name: string;
    readonly space?: number;
    /** Of a diversion: its plugin's name, and which of the manifest's it is. */
    readonly plugin?: string;
    readonly place?: number;
  }[];
}

/** By port index: bits of the plugins that are asked there; empty if every plugin is, everywhere. */
export function enabledPlugins(plugins: readonly LoadedPlugin[], ports: ChainPlan['ports']): Int32Array {
  if (plugins.every(({ ports: names = 'all' }) => names === 'all')) return new Int32Array(0);
  const enabled = new Int32Array(Math.max(0, ...ports.map(({ index }) => index)) + 1);
  plugins.forEach(({ ports: names = 'all' }, place) => {
    for (const { index, name } of ports) {
      if (names === 'all' || names.includes(name)) enabled[index] |= 1 << place;
    }
  });
  return enabled;
}
