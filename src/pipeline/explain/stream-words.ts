/**
 * Which plugins read the bytes of a live flow, in words: what they asked for, how far they are, what is held back for them.
 *
 * Neighbours: `flow-words.ts` (the caller), `../stream/stream-layout.ts` (what is read here).
 */
import { ORIGINATOR, REPLY } from '../../flow/layout.ts';
import {
  FLAGS,
  FROM,
  HELD,
  JUDGED,
  LIMIT,
  NEXT,
  OPEN,
  READERS,
  START,
  UNLIMITED,
} from '../stream/stream-layout.ts';
import type { StreamTable } from '../stream/stream-table.ts';
import type { ExplanationStep } from './explanation.ts';

const WHOSE = ["originator's", "responder's"] as const;
/** Places in the chain that a direction has bits for (`StreamTable.asked`). */
const PLACES = 16;

/** A step for each plugin that has asked for bytes of the flow, and direction. `names` of the chain. */
export function streamSteps(
  table: StreamTable | undefined,
  record: number,
  names: readonly string[],
): ExplanationStep[] {
  if (table === undefined) return [];
  const asked = table.asked[record]!;
  const slot = table.slotOf(record);
  return [ORIGINATOR, REPLY].flatMap((direction) =>
    names.flatMap((name, place) => {
      if ((asked & (1 << (direction * PLACES + place))) === 0) return [];
      const who = `The plugin ${name}`;
      const bytes = `the ${WHOSE[direction]} bytes`;
      const at = slot < 0 ? -1 : table.blockOf(slot, direction);
      if (at < 0 || (table.words[at + READERS]! & (1 << place)) === 0)
        return [said(`${who} has read what it wanted of ${bytes}.`)];
      return [said(`${who} reads ${bytes}: ${progress(table.words, at, place)}.`)];
    }),
  );
}

function said(text: string): ExplanationStep {
  return { stage: 'plugin', passes: true, text };
}

/** How far a plugin is with a direction (its block at `at`). */
function progress(words: Int32Array, at: number, place: number): string {
  const isOpen = (words[at + FLAGS]! & OPEN) !== 0;
  const start = isOpen ? words[at + START]! : 0;
  const isUnlimited = (words[at + UNLIMITED]! & (1 << place)) !== 0;
  const wanted = isUnlimited ? 'all of them' : `the first ${(words[at + LIMIT + place]! - start) >>> 0}`;
  if (!isOpen) return `it asked for ${wanted}, and none has come`;
  const decided = (words[at + FROM + place]! - start) >>> 0;
  const undecided = (words[at + NEXT]! - words[at + JUDGED]!) >>> 0;
  const segments = words[at + HELD]!;
  const held =
    segments === 0
      ? ''
      : `; ${segments} ${segments === 1 ? 'segment is' : 'segments are'} held back, ${undecided} bytes of what was shown undecided`;
  return `it asked for ${wanted}, and has passed ${decided}${held}`;
}
