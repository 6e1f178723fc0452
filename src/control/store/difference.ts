/**
 * What differs between two configurations, and what that does to a gateway which runs the former one.
 *
 * Neighbours: `../config/diff.ts` (finds the changes), `configuration.ts` (asks).
 */
import { type ConfigChange, describeChange, diffConfigs } from '../config/diff.ts';
import type { LoadedConfig } from '../config/load.ts';
import type { PlanEffect } from '../live-change.ts';

/** Lines of a summary: it is kept in the history, and with the last events. */
const MAX_SUMMARY_LINES = 50;

export interface Difference {
  readonly changes: readonly ConfigChange[];
  /** The changes for people, one line each. */
  readonly lines: readonly string[];
  /** What they do to flows that live; null where the gateway does not run the former configuration. */
  readonly effect: PlanEffect | null;
  /** Why applying it would be refused; null: it would not, or nobody has asked the gateway. */
  readonly refusal: string | null;
}

/** Compares. `effect`: what the gateway says of the change, if it was asked. */
export function difference(before: LoadedConfig, after: LoadedConfig, effect: PlanEffect | null): Difference {
  const changes = diffConfigs(before, after);
  return { changes, lines: changes.map(describeChange), effect, refusal: null };
}

/** The changes for people, one line each, but not more than somebody will read. */
export function summaryOf({ lines }: Difference): string[] {
  if (lines.length <= MAX_SUMMARY_LINES) return [...lines];
  return [...lines.slice(0, MAX_SUMMARY_LINES), `... and ${lines.length - MAX_SUMMARY_LINES} more`];
}
