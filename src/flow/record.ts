/**
 * Whole records of the flow memory: their keys, which of them are live, which can be believed.
 *
 * Plain functions over the records' words, so that the control process can list the flows of a memory that
 * another process writes. Neighbours: `flow/layout.ts` (the words), `flow/table.ts`.
 */
import { IPV4, IPV6 } from '../wire/packet.ts';
import {
  DIRECTION_WORDS,
  FLOW_LIVE,
  type FlowKey,
  KEY_DST0,
  KEY_DST1,
  KEY_DST2,
  KEY_DST3,
  KEY_META,
  KEY_PORTS,
  KEY_SRC0,
  KEY_SRC1,
  KEY_SRC2,
  KEY_SRC3,
  RECORD_WORDS,
  SHARED_ID,
  SHARED_STATE,
} from './layout.ts';
import { TIMEOUT_CLASSES, timeoutClassOf } from './timeouts.ts';

/**
 * The first live record after `record` (-1 to begin), or -1. A reader in another
 * process must expect a record to change while it looks.
 */
export function nextLiveRecord(words: Int32Array, capacity: number, record: number): number {
  for (let next = record + 1; next < capacity; next++) {
    if (words[next * RECORD_WORDS + SHARED_STATE] !== 0) return next;
  }
  return -1;
}

/** Copies one direction's key out of a record of `words`. */
export function readKey(words: Int32Array, record: number, direction: number, key: FlowKey): void {
  const line = record * RECORD_WORDS + direction * DIRECTION_WORDS;
  key.src0 = words[line + KEY_SRC0]!;
  key.src1 = words[line + KEY_SRC1]!;
  key.src2 = words[line + KEY_SRC2]!;
  key.src3 = words[line + KEY_SRC3]!;
  key.dst0 = words[line + KEY_DST0]!;
  key.dst1 = words[line + KEY_DST1]!;
  key.dst2 = words[line + KEY_DST2]!;
  key.dst3 = words[line + KEY_DST3]!;
  key.ports = words[line + KEY_PORTS]!;
  key.meta = words[line + KEY_META]!;
}

/** Writes a key to a line of `words`: the word at which a record's direction begins. */
export function writeKey(words: Int32Array, line: number, key: FlowKey): void {
  words[line + KEY_SRC0] = key.src0;
  words[line + KEY_SRC1] = key.src1;
  words[line + KEY_SRC2] = key.src2;
  words[line + KEY_SRC3] = key.src3;
  words[line + KEY_DST0] = key.dst0;
  words[line + KEY_DST1] = key.dst1;
  words[line + KEY_DST2] = key.dst2;
  words[line + KEY_DST3] = key.dst3;
  words[line + KEY_PORTS] = key.ports;
  words[line + KEY_META] = key.meta;
}

/** Whether two keys are equal. */
export function sameKey(one: FlowKey, other: FlowKey): boolean {
  return (
    one.src3 === other.src3 &&
    one.dst3 === other.dst3 &&
    one.ports === other.ports &&
    one.meta === other.meta &&
    one.src0 === other.src0 &&
    one.src1 === other.src1 &&
    one.src2 === other.src2 &&
    one.dst0 === other.dst0 &&
    one.dst1 === other.dst1 &&
    one.dst2 === other.dst2
  );
}

/**
 * Whether the record whose words begin at `base`, and which says that it is live, can be: after a restart
 * nothing is taken on trust.
 */
export function isValidRecord(words: Int32Array, base: number): boolean {
  const state = words[base + SHARED_STATE]!;
  if ((state & 0xff) !== FLOW_LIVE || timeoutClassOf(state) >= TIMEOUT_CLASSES) return false;
  if (words[base + SHARED_ID] === 0) return false;
  const reply = base + DIRECTION_WORDS;
  const meta = words[base + KEY_META]!;
  // Family and protocol are the same in both directions; only the space differs.
  if ((meta & 0xffff) !== (words[reply + KEY_META]! & 0xffff)) return false;
  if (meta >>> 16 === 0 || words[reply + KEY_META]! >>> 16 === 0) return false;
  const family = meta & 0xff;
  if (family !== IPV4 && family !== IPV6) return false;
  let differs = 0;
  for (let word = 0; word <= KEY_META; word++) differs |= words[base + word]! ^ words[reply + word]!;
  if (differs === 0) return false;
  return family === IPV6 || (hasIpv4Addresses(words, base) && hasIpv4Addresses(words, reply));
}

function hasIpv4Addresses(words: Int32Array, line: number): boolean {
  const source = words[line + KEY_SRC0]! | words[line + KEY_SRC1]! | words[line + KEY_SRC2]!;
  const destination = words[line + KEY_DST0]! | words[line + KEY_DST1]! | words[line + KEY_DST2]!;
  return (source | destination) === 0;
}
