/**
 * How far the plugin chain has judged a flow that one of its plugins holds: taken down when it begins to wait, brought back
 * when it goes on.
 *
 * Neighbours: `plugin-chain.ts` (whose words these are), `held-flows.ts` (keeps them), `flow-setup.ts` (when).
 */
import type { PacketView } from '../wire/packet.ts';
import type { PluginChain } from './plugin-chain.ts';
import type { FlowDraft } from './plugin-link.ts';

/** How far a flow has been judged that waits for a decision. */
export interface JudgedSoFar {
  /** Of the plugin that holds it. */
  readonly place: number;
  readonly protocol: number;
  /** As in the view. */
  readonly ports: number;
  readonly wanted: number;
  /** As in the chain. */
  readonly wantsWire: boolean;
  readonly asked: number;
  readonly accepted: boolean;
  readonly divertedTo: number;
  readonly returnRouting: number;
  /** Where it leads. */
  readonly egressPort: number;
  readonly responderSpace: number;
  /** What plugins keep of the flow, one behind the other. */
  readonly states: Int32Array;
  /** `streamWishes.limits`; undefined if nobody reads streams. */
  readonly streams: Int32Array | undefined;
}

/** What is to be remembered of the flow that was judged last, and is held. */
export function judgedSoFar(chain: PluginChain, view: PacketView, flow: FlowDraft): JudgedSoFar {
  const states = chain.keepers.flatMap(({ standing }) => [...standing.state.subarray(standing.scratchAt)]);
  return {
    place: chain.decider - 1,
    protocol: view.protocol,
    ports: view.ports,
    wanted: chain.wanted,
    wantsWire: chain.wantsWire,
    asked: chain.asked,
    accepted: chain.accepted,
    divertedTo: chain.divertedTo,
    returnRouting: flow.returnRouting,
    egressPort: flow.egressPort,
    responderSpace: flow.responderSpace,
    states: Int32Array.from(states),
    streams: chain.streamWishes.any ? chain.streamWishes.limits.slice() : undefined,
  };
}

/** Brings it back, for `goOn`: others were judged meanwhile. */
export function recall(chain: PluginChain, judged: JudgedSoFar, flow: FlowDraft): void {
  chain.wanted = judged.wanted;
  chain.wantsWire = judged.wantsWire;
  chain.asked = judged.asked;
  chain.accepted = judged.accepted;
  chain.divertedTo = judged.divertedTo;
  chain.decider = judged.place + 1;
  chain.reject = false;
  chain.nowMs = flow.nowMs;
  flow.returnRouting = judged.returnRouting;
  chain.streamWishes.clear();
  if (judged.streams !== undefined) {
    chain.streamWishes.limits.set(judged.streams);
    chain.streamWishes.any = true;
  }
  let from = 0;
  for (const { standing } of chain.keepers) {
    standing.state.set(judged.states.subarray(from, from + standing.stateWords), standing.scratchAt);
    from += standing.stateWords;
  }
}

/** Whether a flow leads where it led when it was judged. */
export function leadsWhere(judged: JudgedSoFar, flow: FlowDraft): boolean {
  return judged.egressPort === flow.egressPort && judged.responderSpace === flow.responderSpace;
}

/** Whether the same instances stand in the same places: then what was taken down of one means the same in the other. */
export function areSamePlugins({ links }: PluginChain, other: PluginChain): boolean {
  return (
    links.length === other.links.length &&
    links.every(({ standing }, at) => standing === other.links[at]!.standing)
  );
}
