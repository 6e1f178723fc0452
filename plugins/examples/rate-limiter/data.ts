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
  type FlowSetup,
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
      // It lives, and was paid for when it began.
      if (flow.reevaluated) return VERDICT_CONTINUE;
      const bucket = bucketOf(packet, flow);
      // Somebody asks (`homeward flows explain`) about a source that has begun no flow yet.
      if (bucket < 0) return VERDICT_CONTINUE;
      buckets.refill(bucket, flow.nowMs);
      if (buckets.hasToken(bucket)) {
        if (!flow.hypothetical) buckets.take(bucket);
        return VERDICT_CONTINUE;
      }
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

  /** -1 for a question about a source that has none: a question takes nobody's. */
  function bucketOf(packet: PacketView, { originatorSpace, hypothetical }: FlowSetup): number {
    const family = packet.family === IPV4 ? 0 : 1;
    // IPv4 has its address in the last word.
    const { src0, src1, src2, src3 } = packet;
    return hypothetical
      ? buckets.known(originatorSpace, family, src0, src1, src2, src3)
      : buckets.find(originatorSpace, family, src0, src1, src2, src3);
  }
}
