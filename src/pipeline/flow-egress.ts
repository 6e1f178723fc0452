/**
 * By which port a flow's packets leave: what stands in the record, or, where that is routed, another tunnel of the same
 * space.
 *
 * A pinned reply knows one port only. What is routed - the originator's packets, and replies where return routing is
 * off - may take another tunnel of its space when the one in the record is down. Neighbours: `pipeline.ts`
 * (which writes the other one down), `explain/`.
 */
import {
  DIRECTION_EGRESS,
  DIRECTION_WORDS,
  FLOW_DIVERTED,
  FLOW_ROUTED_REPLY,
  KEY_META,
  KEY_SRC0,
  KEY_SRC1,
  KEY_SRC2,
  KEY_SRC3,
  ORIGINATOR,
  RECORD_WORDS,
  REPLY,
  SHARED_STATE,
} from '../flow/layout.ts';
import type { FlowTable } from '../flow/table.ts';
import { DROP } from '../plugin/drop-reasons.ts';
import type { LinkLayer } from './link/link-layer.ts';
import { MAX_PORTS, PENALTY_DOWN, type PortTable, portIndex } from './port-table.ts';
import { lineHash } from './tuple-hash.ts';

/** Why a packet of this direction is dropped that has no port to leave by. `state`: the record's state word. */
export function lacksEgress(direction: number, state: number): number {
  if (direction === REPLY) return DROP.no_pin;
  return (state & FLOW_DIVERTED) === 0 ? DROP.port_down : DROP.diversion_down;
}

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

/**
 * Lets what is routed into a tunnel that carries nothing take another one of its space, where there is one that may
 * carry something. A pinned reply stays: it waits for its originator to come by another tunnel. Not for the packet path.
 */
export function leaveDeadTunnels(table: FlowTable, ports: PortTable): void {
  const dead = new Uint8Array(MAX_PORTS);
  for (const { index } of ports.all()) if (ports.penaltyOf(index) === PENALTY_DOWN) dead[index] = 1;
  if (!dead.includes(1)) return;
  const { words } = table;
  for (let record = table.next(-1); record >= 0; record = table.next(record)) {
    const base = record * RECORD_WORDS;
    for (let direction = ORIGINATOR; direction <= REPLY; direction++) {
      const at = base + direction * DIRECTION_WORDS + DIRECTION_EGRESS;
      if (dead[portIndex(words[at])] !== 1) continue;
      const other = otherEgress(words, record, direction, words[base + SHARED_STATE], ports);
      if (other >= 0 && dead[other] === 0) words[at] = ports.wordOf[other];
    }
  }
}

/** Whether the host that a packet of this direction will be addressed to, or the router towards it, is silent. */
export function isUnreachable(
  link: LinkLayer,
  family: number,
  words: Int32Array,
  record: number,
  direction: number,
  egress: number,
): boolean {
  const to = record * RECORD_WORDS + (direction ^ 1) * DIRECTION_WORDS;
  return link.isUnreachable(
    egress,
    family,
    words[to + KEY_SRC0],
    words[to + KEY_SRC1],
    words[to + KEY_SRC2],
    words[to + KEY_SRC3],
  );
}
