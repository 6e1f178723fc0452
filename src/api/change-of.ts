/** The members that requests for changes share, as control wants them. */
import type { ChangeRequest } from '../control/store/change.ts';
import { claimedBy } from './claimed-by.ts';
import type { Caller } from './operation.ts';

export function changeOf(
  members: {
    readonly by: string;
    readonly comment: string;
    readonly confirmMs?: number | undefined;
    readonly reevaluate: boolean;
  },
  caller: Caller,
  validateOnly: boolean,
): ChangeRequest {
  const { by, comment, confirmMs, reevaluate } = members;
  return { by: claimedBy(by, caller), comment, confirmMs, reevaluate, validateOnly };
}
