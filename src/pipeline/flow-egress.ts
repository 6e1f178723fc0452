/**
 * By which port a flow's packets leave: what stands in the record, or, where that is routed, another tunnel of the same
 * space.
 *
 * A pinned reply knows one port only. What is routed - the originator's packets, and replies where return routing is
 * off - may take another tunnel of its space when the one in the record is down. Neighbours: `pipeline.ts`
 * (which writes the other one down), `explain/`.
 */
import { DIRECTION_WORDS, FLOW_ROUTED_REPLY, KEY_META, RECORD_WORDS, REPLY } from '../flow/layout.ts';
import type { PortTable } from './port-table.ts';
import { lineHash } from './tuple-hash.ts';

/**
 * The port that takes the place of the one in the record, which is down; -1: none may, or none is up. Changes
 * nothing. `state`: the record's state word.
 */
export function otherEgress(
  words: Int32Array,
  record: number,
  direction: number,
  state: number,
  ports: PortTable,
): number {
  if (direction === REPLY && (state & FLOW_ROUTED_REPLY) === 0) return -1;
  const line = record * RECORD_WORDS + direction * DIRECTION_WORDS;
  const otherLine = record * RECORD_WORDS + (direction ^ 1) * DIRECTION_WORDS;
  return ports.select(words[otherLine + KEY_META] >>> 16, lineHash(words, line));
}
