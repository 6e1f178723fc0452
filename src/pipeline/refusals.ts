/**
 * What follows when a packet that no flow matches does not begin one: it is counted, told to the flow log, and, where that
 * is right, to the sender.
 *
 * Neighbours: `flow-setup.ts` (decides), `pipeline.ts` (asks for this), `strays.ts`, `own-errors.ts`.
 */
import type { Counters } from '../flow/counters.ts';
import type { FlowEventWriter } from '../flow/flow-event-writer.ts';
import { DROP } from '../plugin/drop-reasons.ts';
import type { PacketView } from '../wire/packet.ts';
import type { FlowPolicy } from './flow-policy.ts';
import type { OwnErrors } from './own-errors.ts';
import type { Strays } from './strays.ts';

export class Refusals {
  private readonly view: PacketView;
  private readonly counters: Counters;
  private readonly errors: OwnErrors;
  private readonly strays: Strays;
  /** Where refusals are told; undefined: nowhere. */
  events: FlowEventWriter | undefined = undefined;

  constructor(view: PacketView, counters: Counters, errors: OwnErrors, strays: Strays) {
    this.view = view;
    this.counters = counters;
    this.errors = errors;
    this.strays = strays;
  }

  /** The packet at hand, which came in by `port`, begins no flow, for this reason; `reject`: a plugin wants it told. */
  note(policy: FlowPolicy, port: number, reason: number, reject: boolean, nowMs: number): void {
    const { view } = this;
    const { ports } = policy;
    this.counters.countCreation(reason);
    if (reason === DROP.no_flow) this.strays.note(view, port, ports, nowMs);
    if (this.events !== undefined) this.tell(this.events, policy, port, reason, nowMs);
    if (reject) this.errors.refused(view, port, nowMs);
    else if (ports.isEgress[port] === 0) this.errors.notSetUp(view, port, reason, nowMs);
  }

  private tell(
    events: FlowEventWriter,
    { chain, planGeneration, ports }: FlowPolicy,
    port: number,
    reason: number,
    nowMs: number,
  ): void {
    const decider = isPluginReason(reason) ? chain.decider : 0;
    // Where nobody may send from, it is the port's own.
    const space = ports.spaceOfArrived(port, this.view) || ports.spaceOf[port];
    events.refused(this.view, space, ports.wordOf[port], reason, decider, planGeneration, nowMs);
  }
}

/** Whether a plugin has refused the flow, or failed at it. */
function isPluginReason(reason: number): boolean {
  return (
    reason === DROP.policy ||
    reason === DROP.policy_reject ||
    reason === DROP.plugin_failed ||
    reason === DROP.verdict_unsupported ||
    reason === DROP.diversion_down ||
    reason === DROP.diversion_refused
  );
}
