/**
 * Failure causes and actions as numbers: what the packet path compares instead of names, and what stands in the flow
 * memory's counters. The names, and what they mean, are in `contract.ts`.
 */
import {
  DEFAULT_FAILURE_ACTION,
  FAILURE_ACTIONS,
  FAILURE_CAUSES,
  type FailureAction,
  type FailurePolicy,
} from './contract.ts';

/** Places in `FAILURE_CAUSES`. Append only: counters are stored. */
export const CAUSE_EXCEPTION = 0;
export const CAUSE_TIMEOUT = 1;
export const CAUSE_MEMORY = 2;
export const CAUSE_MIDSTREAM = 3;
export const CAUSE_UNPARSABLE = 4;

/** Places in `FAILURE_ACTIONS`. */
export const ACTION_DROP_PACKET = 0;
export const ACTION_DROP_FLOW = 1;
export const ACTION_REJECT = 2;
/** This and what is above lets the packet pass. */
export const ACTION_PASS_PACKET = 3;
export const ACTION_PASS_FLOW = 4;

/** The action (`ACTION_...`) of every cause (`CAUSE_...`). */
export function actionNumbers(policy: Partial<FailurePolicy>): Uint8Array {
  return Uint8Array.from(FAILURE_CAUSES, (cause) =>
    FAILURE_ACTIONS.indexOf(policy[cause] ?? DEFAULT_FAILURE_ACTION),
  );
}

/** Manifest and configuration together: the latter's word counts where it has one. */
export function wholePolicy(...policies: readonly (Partial<FailurePolicy> | undefined)[]): FailurePolicy {
  const entries = FAILURE_CAUSES.map((cause): [string, FailureAction] => {
    const said = policies.flatMap((policy) => policy?.[cause] ?? []);
    return [cause, said.at(-1) ?? DEFAULT_FAILURE_ACTION];
  });
  return Object.fromEntries(entries) as unknown as FailurePolicy;
}
