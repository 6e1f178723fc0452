/**
 * Rate limiter: each source may begin so many new flows a second, and some more at once. What is too much is refused; the
 * sender is told, and flows that live are left alone.
 *
 * A source is an address **in an address space**: two sites may have the same addresses, and the hosts of one must not
 * use up what those of the other are allowed. Each has a bucket of tokens, one for a flow, that fills at the rate:
 *
 * ```
 *  flowSetup ──► bucket of (space, address) ──► a token? ── yes ──► take it, continue
 *                                                   └────── no ───► reject
 * ```
 *
 * Buckets are in typed arrays that never grow: nothing is allocated for a packet, and whoever sends from many addresses
 * fills no memory. A source that finds no bucket of its own in its row takes the one that has been idle for longest.
 */
import {
  type DataHalf,
  IPV4,
  type PacketView,
  type PluginEnvironment,
  VERDICT_CONTINUE,
  VERDICT_REJECT,
} from 'homeward/plugin';
import { Buckets } from './buckets.ts';

/** As the manifest's schema lets them through, with its defaults. */
interface Options {
  readonly rate: number;
  readonly burst: number;
}

export function createDataHalf(environment: PluginEnvironment): DataHalf {
  const countRefused = environment.counter('flows_refused');
  const buckets = new Buckets();

  return {
    configure({ options }) {
      const { rate, burst } = options as Options;
      // Buckets stay as they are: a source that has used up its burst has done so under the new options, too.
      return () => buckets.limit(rate, burst);
    },

    flowSetup(packet, flow) {
      const bucket = bucketOf(packet, flow.originatorSpace);
      buckets.refill(bucket, flow.nowMs);
      if (buckets.hasToken(bucket)) {
        // A question (`homeward flows explain`) and a flow that is judged anew begin no flow.
        if (!flow.hypothetical && !flow.reevaluated) buckets.take(bucket);
        return VERDICT_CONTINUE;
      }
      if (flow.reevaluated) return VERDICT_CONTINUE;
      if (!flow.hypothetical) countRefused();
      environment.reason('this source begins too many flows');
      return VERDICT_REJECT;
    },

    query(_view, parameters) {
      const { limit } = parameters as { limit: number };
      const sources = buckets.emptiest(limit, environment.nowMs());
      return {
        sources,
        lines: sources.map(({ address, space, left }) => `${address} in space ${space}: ${left} left`),
      };
    },
  };

  function bucketOf({ family, src0, src1, src2, src3 }: PacketView, space: number): number {
    // IPv4 has its address in the last word.
    return buckets.find(space, family === IPV4 ? 0 : 1, src0, src1, src2, src3);
  }
}
