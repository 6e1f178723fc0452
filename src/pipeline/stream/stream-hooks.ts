/**
 * The calls of plugins' `stream` hook, and what their failures mean. Neighbours: `pipeline/plugin-chain.ts` (the plugins),
 * `stream-readers.ts` (what is shown, and when).
 */
import { ACTION_PASS_PACKET, CAUSE_EXCEPTION, CAUSE_MIDSTREAM } from '../../plugin/failure-numbers.ts';
import { HOOK_STREAM } from '../../plugin/running-plugin.ts';
import { readThrown } from '../../plugin/thrown.ts';
import { type PluginChain, UNSEEN } from '../plugin-chain.ts';
import { type ReadFlow, STREAM_UNKNOWN, type StreamReaders } from './stream-readers.ts';

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
    if (standing.unseen.length !== 0 && standing.unseen[flow.record] !== 0) {
      standing.unseen[flow.record] = 0;
      return ~this.chain.countFailure(plugin, CAUSE_MIDSTREAM, UNSEEN, false);
    }
    flow.state = standing.state;
    flow.stateAt = flow.record * standing.stateWords;
    const { meter } = this.chain;
    meter.begin(plugin, HOOK_STREAM);
    try {
      const answer = half.stream!(flow, bytes, offset, length, follows);
      meter.end(plugin);
      return typeof answer === 'number' && answer >= 0 ? answer : STREAM_UNKNOWN;
    } catch (error) {
      const { cause, text } = readThrown(error);
      meter.end(plugin);
      return ~this.chain.countFailure(plugin, cause, text, true);
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
