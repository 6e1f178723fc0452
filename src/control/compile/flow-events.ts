/** Which flow events the data plane is to write, from the settings of the flow log. */
import type { Plan, PlanFlowEvents } from '../../pipeline/plan.ts';
import { DROP_REASON_NAMES, type DropReasonName } from '../../plugin/drop-reasons.ts';
import type { FlowLogConfig } from '../config/config.ts';

const REFUSALS: Readonly<Record<FlowLogConfig['refusals'], readonly DropReasonName[]>> = {
  none: [],
  policy: ['policy', 'policy_reject', 'plugin_failed', 'verdict_unsupported'],
  all: DROP_REASON_NAMES.slice(1),
};

/** The member of a plan; none without a flow log. */
export function planFlowEvents(flowLog: FlowLogConfig | null): Pick<Plan, 'flowEvents'> {
  if (flowLog === null) return {};
  const flowEvents: PlanFlowEvents = {
    refusals: REFUSALS[flowLog.refusals],
    refusalsPerSecond: flowLog.refusalsPerSecond,
  };
  return { flowEvents };
}
