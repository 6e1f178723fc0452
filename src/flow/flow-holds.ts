/**
 * Holding the tuples of a flow that ends: what each of its ends may still send. A flow with an external port of its
 * own needs none: the port is held.
 *
 * Neighbours: `held-tuples.ts`; `pipeline/flow-end.ts` and `flow/carry-over.ts` end flows.
 */
import type { HeldTuples } from './held-tuples.ts';
import {
  DIRECTION_WORDS,
  FLOW_DIVERTED,
  FlowKey,
  KEY_META,
  ORIGINATOR,
  RECORD_WORDS,
  REPLY,
  SHARED_STATE,
} from './layout.ts';
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
  // What its originator sends late is judged anew, and goes to no other site than its route says.
  if ((words[base + SHARED_STATE]! & FLOW_DIVERTED) !== 0) return;
  readKey(words, record, ORIGINATOR, key);
  held.hold(key, responder, originator, lateMs, nowMs);
}
