/**
 * Which bytes plugins ask for when a flow is set up. Neighbours: `pipeline/plugin-chain.ts` (asks them), `streams.ts` (opens
 * the streams).
 */
import type { FlowSetup } from '../../plugin/contract.ts';

/** Plugins there may be. */
const PLACES = 16;

/** How many bytes plugins ask for of a flow that is set up. */
export class StreamWishes {
  /** Of the originator's bytes, then of the reply's, by place in the chain: -1 for all. */
  readonly limits: Int32Array = new Int32Array(2 * PLACES);
  /** Whether any is not 0. */
  any = false;

  /** Before a flow is judged. */
  clear(): void {
    if (!this.any) return;
    this.any = false;
    this.limits.fill(0);
  }

  /** What the plugin at this place asks for, as `StreamTable.asked` has it. */
  askedBy(place: number): number {
    const originator = this.limits[place] !== 0 ? 1 << place : 0;
    return this.limits[PLACES + place] !== 0 ? originator | (1 << (PLACES + place)) : originator;
  }

  /** The plugin at this place has answered. */
  note(place: number, flow: FlowSetup): void {
    this.limits[place] = flow.streamOriginator;
    this.limits[PLACES + place] = flow.streamReply;
    this.any = true;
  }
}
