/**
 * The plugin chain: runs the data halves of the configured plugins in their declared order.
 *
 * Policy plugins judge; `accept` ends their part. Routing plugins always run. A plugin that throws is counted,
 * and its failure policy decides: closed drops, open goes on. Nothing in `src` knows a plugin by name: they are
 * loaded by manifest (`dataplane/plugin-loader.ts`) and handed in here.
 */
import {
  type FailurePolicy,
  type FlowHandle,
  type FlowSetup,
  type FlowStatistics,
  PACKET_DONE,
  PACKET_DROP,
  PACKET_DROP_FLOW,
  PACKET_PASS,
  type PacketHooks,
  type PluginPhase,
  RETURN_UNSET,
  VERDICT_ACCEPT,
  VERDICT_CONTINUE,
  VERDICT_DROP,
  VERDICT_REJECT,
} from '../plugin/contract.ts';
import { DROP } from '../plugin/drop-reasons.ts';
import {
  HOOK_FLOW_END,
  HOOK_FLOW_SETUP,
  HOOK_FLOW_START,
  HOOK_INGRESS_CHANGED,
  HOOK_PACKET,
} from '../plugin/running-plugin.ts';
import type { PacketView } from '../wire/packet.ts';
import type { PluginMeter } from './plugin-meter.ts';

/** At most so many plugins: each has a bit in a flow's record. */
export const MAX_PLUGINS = 16;

const NO_STATE = new Int32Array(0);

export interface LoadedPlugin {
  readonly name: string;
  readonly phase: PluginPhase;
  readonly half: PacketHooks;
  /** What becomes of packets when it fails; `drop-flow` for causes that are not named. */
  readonly failurePolicy?: Partial<FailurePolicy>;
  /** What its half last said of a verdict of its; an empty string if nothing. */
  reason?: string;
}

/** What became of a flow at one plugin. */
export interface PluginVerdict {
  readonly plugin: string;
  /** One of `VERDICT_...`, `failed`, or `skipped`: one before it has accepted the flow. */
  readonly verdict: number | 'failed' | 'skipped';
  /** In the plugin's own words; may be empty. */
  readonly reason: string;
  readonly wantsPackets: boolean;
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
  state = NO_STATE;
  stateAt = 0;
  holdToken = 0;
  holdMs = 0;
  holdDefault = VERDICT_DROP;
}

/** A live flow as hooks see it; reused. */
export class LiveFlow implements FlowHandle {
  id = 0;
  record = 0;
  direction = 0;
  originatorSpace = 0;
  responderSpace = 0;
  ingressPort = 0;
  state = NO_STATE;
  stateAt = 0;
}

function isOpen({ failurePolicy }: LoadedPlugin): boolean {
  return failurePolicy?.exception?.startsWith('pass') ?? false;
}

export class PluginChain {
  private readonly plugins: readonly LoadedPlugin[];
  private readonly onFailure: (plugin: LoadedPlugin, error: unknown) => void;
  private readonly meter: PluginMeter;
  /** After `setUpFlow`: bits of the plugins that want packets, and index + 1 of the one that decided. */
  wanted = 0;
  decider = 0;
  /** Whether a plugin wants to know of flows that begin. */
  readonly watchesStart: boolean;
  /** Whether the refusal of the last `setUpFlow` is to be told to the sender. */
  reject = false;
  private observer: ((verdict: PluginVerdict) => void) | undefined = undefined;
  /** After `inspect`: bits of the plugins that still want packets of this flow. */
  still = 0;

  /** `plugins` in the order in which they run: all policy plugins before all routing plugins. */
  constructor(
    plugins: readonly LoadedPlugin[],
    onFailure: (plugin: LoadedPlugin, error: unknown) => void,
    meter: PluginMeter,
  ) {
    if (plugins.length > MAX_PLUGINS) throw new RangeError(`more than ${MAX_PLUGINS} plugins`);
    this.plugins = plugins;
    this.onFailure = onFailure;
    this.meter = meter;
    this.watchesStart = plugins.some(({ half }) => half.flowStart !== undefined);
  }

  /** Judges a new flow: 0, or the reason for which it may not exist. Fills `flow.returnRouting`. */
  setUpFlow(view: PacketView, flow: FlowDraft): number {
    this.wanted = 0;
    this.decider = 0;
    this.reject = false;
    flow.returnRouting = RETURN_UNSET;
    let accepted = false;
    for (let i = 0; i < this.plugins.length; i++) {
      const plugin = this.plugins[i];
      if (accepted && plugin.phase === 'policy') {
        if (this.observer !== undefined) this.observe(plugin, 'skipped', flow);
        continue;
      }
      flow.wantsPackets = false;
      let verdict: number;
      this.meter.begin(i, HOOK_FLOW_SETUP);
      try {
        verdict = plugin.half.flowSetup(view, flow);
      } catch (error) {
        this.fail(i, error);
        if (this.observer !== undefined) this.observe(plugin, 'failed', flow);
        if (isOpen(plugin)) continue;
        this.decider = i + 1;
        return DROP.plugin_failed;
      }
      this.meter.end(i);
      if (this.observer !== undefined) this.observe(plugin, verdict, flow);
      if (flow.wantsPackets && plugin.half.packet !== undefined) this.wanted |= 1 << i;
      if (verdict === VERDICT_CONTINUE) continue;
      this.decider = i + 1;
      if (verdict === VERDICT_ACCEPT) accepted = true;
      else return this.refusal(verdict);
    }
    return flow.returnRouting === RETURN_UNSET ? DROP.no_pin : 0;
  }

  /**
   * While a flow is only asked about: `observer` gets what every plugin says of it, in their order. No call or failure
   * counts meanwhile.
   */
  watchVerdicts(observer: ((verdict: PluginVerdict) => void) | undefined): void {
    for (const plugin of this.plugins) plugin.reason = '';
    this.observer = observer;
    this.meter.counts = observer === undefined;
  }

  private observe(plugin: LoadedPlugin, verdict: PluginVerdict['verdict'], flow: FlowDraft): void {
    const { name, reason = '' } = plugin;
    const wantsPackets = verdict !== 'skipped' && flow.wantsPackets && plugin.half.packet !== undefined;
    this.observer?.({ plugin: name, verdict, reason, wantsPackets });
  }

  private refusal(verdict: number): number {
    if (verdict === VERDICT_DROP) return DROP.policy;
    if (verdict !== VERDICT_REJECT) return DROP.verdict_unsupported;
    this.reject = true;
    return DROP.policy_reject;
  }

  /** Names of the plugins, in their order: what the bits in a flow's record mean. */
  get names(): readonly string[] {
    return this.plugins.map(({ name }) => name);
  }

  /** The bit of the plugin of this name, if it can look at packets, or -1. */
  inspectorAt(name: string): number {
    return this.plugins.findIndex((plugin) => plugin.name === name && plugin.half.packet !== undefined);
  }

  /**
   * Shows a packet to the plugins in `wanted` (bits); `still` says afterwards who wants the next one. Returns 0 to
   * let it pass, -1 to drop it, -2 to end the flow.
   */
  inspect(view: PacketView, flow: FlowHandle, wanted: number): number {
    this.still = wanted;
    for (let i = 0; i < this.plugins.length; i++) {
      if ((wanted & (1 << i)) === 0) continue;
      const plugin = this.plugins[i];
      let answer: number;
      this.meter.begin(i, HOOK_PACKET);
      try {
        answer = plugin.half.packet!(view, flow);
        this.meter.end(i);
      } catch (error) {
        this.fail(i, error);
        answer = isOpen(plugin) ? PACKET_PASS : PACKET_DROP;
      }
      if (answer === PACKET_DONE) this.still &= ~(1 << i);
      else if (answer === PACKET_DROP_FLOW) return -2;
      else if (answer !== PACKET_PASS) return -1;
    }
    return 0;
  }

  /** The flow that was set up last exists now. */
  flowStart(view: PacketView, flow: FlowHandle): void {
    for (let i = 0; i < this.plugins.length; i++) {
      const { half } = this.plugins[i];
      if (half.flowStart === undefined) continue;
      this.meter.begin(i, HOOK_FLOW_START);
      try {
        half.flowStart(view, flow);
        this.meter.end(i);
      } catch (error) {
        this.fail(i, error);
      }
    }
  }

  ingressChanged(flow: FlowHandle): void {
    for (let i = 0; i < this.plugins.length; i++) {
      const { half } = this.plugins[i];
      if (half.ingressChanged === undefined) continue;
      this.meter.begin(i, HOOK_INGRESS_CHANGED);
      try {
        half.ingressChanged(flow);
        this.meter.end(i);
      } catch (error) {
        this.fail(i, error);
      }
    }
  }

  flowEnd(flow: FlowHandle, statistics: FlowStatistics): void {
    for (let i = 0; i < this.plugins.length; i++) {
      const { half } = this.plugins[i];
      if (half.flowEnd === undefined) continue;
      this.meter.begin(i, HOOK_FLOW_END);
      try {
        half.flowEnd(flow, statistics);
        this.meter.end(i);
      } catch (error) {
        this.fail(i, error);
      }
    }
  }

  private fail(index: number, error: unknown): void {
    this.meter.end(index);
    if (this.observer !== undefined) return;
    this.meter.failed(index);
    this.onFailure(this.plugins[index], error);
  }
}
