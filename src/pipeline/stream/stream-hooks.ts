/**
 * What plugins have to do with streams: which bytes they ask for when a flow is set up, and the calls of their `stream`
 * hook. Neighbours: `pipeline/plugin-chain.ts` (sets flows up), `stream-readers.ts` (what is shown, and when).
 */
import type { FlowSetup } from '../../plugin/contract.ts';
import {
  ACTION_PASS_PACKET,
  CAUSE_EXCEPTION,
  CAUSE_MIDSTREAM,
  causeOf,
} from '../../plugin/failure-numbers.ts';
import { HOOK_STREAM } from '../../plugin/running-plugin.ts';
import type { PluginChain } from '../plugin-chain.ts';
import { type ReadFlow, STREAM_UNKNOWN, type StreamReaders } from './stream-readers.ts';

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

  /** The plugin at this place has answered. */
  note(place: number, flow: FlowSetup): void {
    this.limits[place] = flow.streamOriginator;
    this.limits[PLACES + place] = flow.streamReply;
    this.any = true;
  }
}

/** The plugins of a chain as readers of streams. */
export class StreamHooks implements StreamReaders {
  private readonly chain: PluginChain;

  constructor(chain: PluginChain) {
    this.chain = chain;
  }

  read(
    plugin: number,
    flow: ReadFlow,
    bytes: Uint8Array,
    offset: number,
    length: number,
    follows: number,
  ): number {
    const { half, standing, actions } = this.chain.links[plugin];
    if (standing.isTripped) return ~actions[CAUSE_EXCEPTION];
    flow.state = standing.state;
    flow.stateAt = flow.record * standing.stateWords;
    const { meter } = this.chain;
    meter.begin(plugin, HOOK_STREAM);
    try {
      const answer = half.stream!(flow, bytes, offset, length, follows);
      meter.end(plugin);
      return answer >= 0 ? answer : STREAM_UNKNOWN;
    } catch (error) {
      meter.end(plugin);
      return ~this.chain.countFailure(plugin, causeOf(error), error, true);
    }
  }

  failed(plugin: number, cause: number, what: string): number {
    return this.chain.countFailure(plugin, cause, what, false);
  }
}

/** Whether a flow goes on whose streams nobody knows any more: if every plugin that reads streams lets it. */
export function passesLostStreams({ links }: PluginChain): boolean {
  return links.every(
    ({ half, actions }) => half.stream === undefined || actions[CAUSE_MIDSTREAM] >= ACTION_PASS_PACKET,
  );
}
