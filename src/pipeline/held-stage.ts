/**
 * The way on of flows that were held: by a decision, by their plugin's default when nobody has decided in time, or out.
 *
 * Between bursts, as if the flow's first packet came now: by the port that it came by, routed and judged from behind the
 * plugin that held it.
 *
 * Neighbours: `held-flows.ts` (where they wait), `flow-setup.ts` (sets them up), `pipeline.ts` (sends what comes of it).
 */
import type { Counters } from '../flow/counters.ts';
import { DROP } from '../plugin/drop-reasons.ts';
import { decode } from '../wire/decode.ts';
import type { PacketView } from '../wire/packet.ts';
import type { FlowSetupStage } from './flow-setup.ts';
import { type HeldFlow, placeHeld, restoreOffloads } from './held-flows.ts';
import type { Scratch } from './link/scratch.ts';
import type { PortTable } from './port-table.ts';

export interface HeldStageParts {
  readonly view: PacketView;
  readonly scratch: Scratch;
  readonly setup: FlowSetupStage;
  readonly counters: Counters;
}

/** What follows an attempt to set up the flow: its record, or -1. Returns a drop reason, or 0 or less. */
export type OnSetUp = (record: number, held: HeldFlow, nowMs: number) => number;

export class HeldStage {
  private readonly parts: HeldStageParts;
  private readonly onSetUp: OnSetUp;

  constructor(parts: HeldStageParts, onSetUp: OnSetUp) {
    this.parts = parts;
    this.onSetUp = onSetUp;
  }

  /** Flows that wait. */
  get count(): number {
    return this.parts.setup.holds.count;
  }

  /** How many of them the plugin at this place holds. */
  countOf(place: number): number {
    return this.parts.setup.holds.heldBy(place);
  }

  /** A verdict on a flow that the plugin at this place holds, or did. */
  decide(place: number, token: number, verdict: number, ports: PortTable, nowMs: number): void {
    const { holds } = this.parts.setup;
    if (holds.placeOf(token) === place) this.goOn(token, verdict, false, ports, nowMs);
  }

  /** Flows that have waited in vain go on by their plugin's default. */
  sweep(ports: PortTable, nowMs: number): void {
    for (const token of this.parts.setup.holds.due(nowMs)) this.goOn(token, -1, true, ports, nowMs);
  }

  /** Nobody can decide on them any more. */
  dropAll(nowMs: number): void {
    const { setup, counters } = this.parts;
    for (const token of setup.holds.due(nowMs, true))
      counters.countDrop(setup.holds.release(token)!.port, DROP.held);
  }

  private goOn(token: number, verdict: number, isLate: boolean, ports: PortTable, nowMs: number): void {
    const { view, scratch, setup, counters } = this.parts;
    const held = setup.holds.release(token);
    if (held === undefined) return;
    const packet = placeHeld(held, scratch);
    let reason = packet < 0 ? DROP.memory_full : decode(view, packet, held.packet.length);
    if (reason === 0 && ports.wordOf[held.port] !== held.portWord) reason = DROP.port_down;
    if (reason === 0) {
      restoreOffloads(held, view);
      const decided = isLate ? held.defaultVerdict : verdict;
      reason = this.onSetUp(setup.resume(view, held, decided, isLate, nowMs), held, nowMs);
    }
    if (reason > 0) counters.countDrop(held.port, reason);
  }
}
