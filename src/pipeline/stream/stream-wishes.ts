/**
 * Which bytes plugins ask for when a flow is set up. Neighbours: `pipeline/plugin-chain.ts` (asks them), `streams.ts` (opens
 * the streams).
 */
import { type FlowSetup, STREAM_WHOLE } from '../../plugin/contract.ts';

/** Plugins there may be. */
const PLACES = 16;

/** More than can be counted here is everything. */
function limitOf(bytes: number): number {
  return bytes > 0x7fffffff ? STREAM_WHOLE : bytes;
}

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
    this.limits[place] = limitOf(flow.streamOriginator);
    this.limits[PLACES + place] = limitOf(flow.streamReply);
    this.any = true;
  }

  /** The plugin at this place reads nothing after all. */
  forget(place: number): void {
    this.limits[place] = 0;
    this.limits[PLACES + place] = 0;
  }
}
