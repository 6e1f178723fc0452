/**
 * How many external ports are in use, counted in the mapped translation section. Nobody keeps these numbers: they are
 * counted when somebody asks, a word for every port.
 *
 * Neighbours: `flow/translation-layout.ts`; `collect.ts` asks.
 */
import {
  CHUNK_PORTS,
  CHUNK_SHIFT,
  CLASSES,
  DIRECTORY_ADDRESS,
  DIRECTORY_FAMILY,
  DIRECTORY_PLACE,
  directoryAt,
  firstSlotAt,
  HEADER_CHUNKS,
  HEADER_LAYOUT,
  SLOT_HELD,
  SLOT_LIVE,
  SLOT_STATE,
  SLOT_WORDS,
  slotOf,
  TRANSLATION_LAYOUT,
} from '../../flow/translation-layout.ts';
import type { PlanPool } from '../../pipeline/plan.ts';
import { planAddress } from '../../pipeline/plan-address.ts';

/** Names of the protocol classes, by number. */
export const CLASS_NAMES: readonly string[] = ['tcp', 'udp', 'icmp'];

export interface PortsInUse {
  /** By protocol class. */
  readonly live: readonly number[];
  readonly held: readonly number[];
}

/** Counts the ports of one pool of an egress (its space id) in the translation section. */
export function countPorts(words: Int32Array, egress: number, pool: PlanPool): PortsInUse {
  const live = new Array<number>(CLASSES).fill(0);
  const held = new Array<number>(CLASSES).fill(0);
  if (words[HEADER_LAYOUT] !== TRANSLATION_LAYOUT) return { live, held };
  const chunks = words[HEADER_CHUNKS]!;
  const first = firstSlotAt(chunks);
  const address = planAddress(pool.address);
  for (let chunk = 0; chunk < chunks; chunk++) {
    const at = directoryAt(chunk);
    if (words[at + DIRECTORY_FAMILY] !== address.family) continue;
    const place = words[at + DIRECTORY_PLACE]!;
    if (place >>> 16 !== egress || !isAddressAt(words, at + DIRECTORY_ADDRESS, address.words)) continue;
    const firstPort = (place & 0xffff) << CHUNK_SHIFT;
    for (let kind = 0; kind < CLASSES; kind++) {
      for (let port = firstPort; port < firstPort + CHUNK_PORTS; port++) {
        if (port < pool.portMin || port > pool.portMax) continue;
        const state = words[first + slotOf(chunk, kind, port) * SLOT_WORDS + SLOT_STATE]!;
        if (state === SLOT_LIVE) live[kind]!++;
        else if (state === SLOT_HELD) held[kind]!++;
      }
    }
  }
  return { live, held };
}

function isAddressAt(words: Int32Array, at: number, address: ArrayLike<number>): boolean {
  for (let word = 0; word < 4; word++) if (words[at + word] !== address[word]) return false;
  return true;
}
