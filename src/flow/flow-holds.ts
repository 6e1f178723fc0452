/**
 * Holding the tuples of a flow that ends: what each of its ends may still send. A flow with an external port of its
 * own needs none: the port is held.
 *
 * Neighbours: `held-tuples.ts`; `pipeline/flow-end.ts` and `flow/carry-over.ts` end flows.
 */
import type { HeldTuples } from './held-tuples.ts';
import { DIRECTION_WORDS, FlowKey, KEY_META, ORIGINATOR, RECORD_WORDS, REPLY } from './layout.ts';
import { readKey } from './record.ts';

/** Reused: nobody is called back while it is in use. */
const key = new FlowKey();

/** Holds what late packets of a record of `words` may look like, from either of its two sites. */
export function holdFlow(
  held: HeldTuples,
  words: Int32Array,
  record: number,
  lateMs: number,
  nowMs: number,
): void {
  const base = record * RECORD_WORDS;
  const originator = words[base + KEY_META]! >>> 16;
  const responder = words[base + DIRECTION_WORDS + KEY_META]! >>> 16;
  readKey(words, record, REPLY, key);
  held.hold(key, originator, originator, lateMs, nowMs);
  readKey(words, record, ORIGINATOR, key);
  held.hold(key, responder, originator, lateMs, nowMs);
}
