/**
 * What one of several equal tunnels is chosen by: the five-tuple, all of it, mixed so that any bit of it may change any
 * bit of the hash. Tunnels share flows evenly also where these differ in little, such as by consecutive ports.
 *
 * The seed is fixed: nobody gains by choosing among the tunnels of the own site. Nothing is stored under this hash;
 * a flow's choice stands in its record. Neighbours: `port-table.ts` (`select`), `flow-route.ts`, `flow-egress.ts`.
 */
import { hash10 } from '../flow/hash.ts';
import {
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
} from '../flow/layout.ts';
import type { PacketView } from '../wire/packet.ts';

const SEED = 0x5bd1e995;
const MULTIPLIER = 0x9e3779b1 | 0;

/** Of a packet as it arrives. */
export function tupleHash(view: PacketView): number {
  return hash10(
    SEED,
    MULTIPLIER,
    view.src0,
    view.src1,
    view.src2,
    view.src3,
    view.dst0,
    view.dst1,
    view.dst2,
    view.dst3,
    view.ports,
    view.protocol,
  );
}

/** Of the packets of one direction of a flow, whose line of the record begins at `line`: the same as of one of them. */
export function lineHash(words: Int32Array, line: number): number {
  return hash10(
    SEED,
    MULTIPLIER,
    words[line + KEY_SRC0],
    words[line + KEY_SRC1],
    words[line + KEY_SRC2],
    words[line + KEY_SRC3],
    words[line + KEY_DST0],
    words[line + KEY_DST1],
    words[line + KEY_DST2],
    words[line + KEY_DST3],
    words[line + KEY_PORTS],
    (words[line + KEY_META] >>> 8) & 0xff,
  );
}
