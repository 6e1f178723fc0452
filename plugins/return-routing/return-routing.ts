/**
 * Return routing: how a flow's replies find their way back.
 *
 * With automatic return routing (the default of every tunnel) a flow is pinned to the tunnel its packets come in
 * by; replies go back through it and no route is looked up. A tunnel with `automatic_return_routing: false` has
 * its replies routed, but never out of the flow's own site. This plugin only decides; the pipeline stores the
 * decision with the flow and refuses a flow for which nobody has decided.
 */
import {
  type DataHalf,
  type DataHalfFactory,
  RETURN_PINNED,
  RETURN_ROUTED,
  VERDICT_CONTINUE,
} from '../../src/plugin/contract.ts';

export const createDataHalf: DataHalfFactory = (): DataHalf => ({
  configure: () => () => {},
  flowSetup(_packet, flow) {
    flow.returnRouting = flow.automaticReturnRouting ? RETURN_PINNED : RETURN_ROUTED;
    return VERDICT_CONTINUE;
  },
});
