/**
 * What is asked of the configuration of a gateway that runs, and what is told of it: plain data, as the API gives it.
 *
 * Neighbours: `configuration.ts` (does it), `api/schemas/config.ts` (the same shapes for requests and answers).
 */
import type { Reevaluation } from '../live-change.ts';
import type { Difference } from './difference.ts';
import type { Revision } from './history.ts';

export interface PendingView {
  readonly revision: number;
  /** The revision to go back to. */
  readonly previous: number;
  /** ISO 8601, UTC. */
  readonly deadline: string;
  readonly leftMs: number;
}

export interface ConfigurationView {
  readonly path: string;
  readonly text: string;
  readonly revision: Revision | null;
  /** Whether the file has this text. */
  readonly file: 'same' | 'differs' | 'unreadable';
  readonly pending: PendingView | null;
}

export interface ChangeRequest {
  /** Who wants it, as they say. */
  readonly by: string;
  readonly comment: string;
  /** Go back after so many milliseconds unless it is confirmed. */
  readonly confirmMs?: number | undefined;
  /** Check, and tell what would change. */
  readonly validateOnly?: boolean;
  /** Let all live flows be judged anew afterwards. */
  readonly reevaluate?: boolean | undefined;
  /** What whoever asks calls the text; default: the gateway's own file. */
  readonly file?: string | undefined;
}

export interface Applied {
  /** False: it was only checked, and the rest says what would be; or it runs already. */
  readonly applied: boolean;
  /** The revision that was made; null: none was. */
  readonly revision: Revision | null;
  readonly difference: Difference;
  /** What waits for its confirmation now; null: nothing does, or nothing was made. */
  readonly pending: PendingView | null;
  /** What is legal but worth knowing, one line each. */
  readonly notices: readonly string[];
  /** Where a text is kept that was in the file and did not run; null: there was none. */
  readonly unapplied: string | null;
  /** What judging all live flows anew has led to; null: they keep the verdicts that they have. */
  readonly reevaluated: Reevaluation | null;
}

/** Of what has made no revision, and so lets nothing wait: a check, what runs already, files that were read anew. */
export function withoutRevision(
  difference: Difference,
  rest: Partial<Pick<Applied, 'applied' | 'notices' | 'unapplied' | 'reevaluated'>>,
): Applied {
  return {
    applied: false,
    revision: null,
    difference,
    pending: null,
    notices: [],
    unapplied: null,
    reevaluated: null,
    ...rest,
  };
}
