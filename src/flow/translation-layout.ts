/**
 * Layout of the translation section: external addresses, and one slot for every external port.
 *
 * ```
 *  header       16 words: layout, seed, number of chunks
 *  directory     8 words a chunk: external address, egress space, port / 1024, family (0: chunk unused)
 *  slots      3072 x 8 words a chunk: [ 1024 TCP ports | 1024 UDP ports | 1024 ICMP identifiers ]
 * ```
 *
 * A chunk is 1024 consecutive ports of one external address of one egress. A slot's external endpoint is
 * implied by its place, so a slot number keeps its meaning for as long as its chunk does: over restarts, over
 * changed port ranges, and over an address that went and came back. One slot, 32 bytes:
 *
 * ```
 *  word 0-3   internal address, wire order; IPv4 in the last, the others 0
 *  word 4     owner: site's space (high half), internal port or identifier in host order (low half)
 *  word 5     state, written last
 *  word 6     references: flows that use the mapping
 *  word 7     end of the hold, int32 ms; while LIVE: the latest that an ended flow asked for
 * ```
 *
 * ```
 *            acquire                    last release
 *   FREE ------------------> LIVE ------------------------> HELD
 *    ^                        ^                              | |
 *    |                        +------------------------------+ |
 *    |                          acquire, by the same site      |
 *    +---------------------------------------------------------+
 *                             the hold has ended
 * ```
 *
 * A process may be killed between any two stores. FREE to LIVE writes the state last: what was written before
 * means nothing. HELD to LIVE changes the endpoint under a state that stays HELD, for a slot whose owner stays
 * the same site (one word): a mixed endpoint is still that site's, and its hold still runs. LIVE to HELD writes the
 * end first.
 *
 * Neighbours: `translation.ts` (who may change what), control reads this to show mappings.
 */

/** Word 0 of the header: says that the section is initialised, and in which layout. */
export const TRANSLATION_LAYOUT = 0x54524e31;
export const HEADER_LAYOUT = 0;
/** Word 1 of the header: seed of hashes and shuffles, int32. */
export const HEADER_SEED = 1;
/** Word 2 of the header: chunks in the section. */
export const HEADER_CHUNKS = 2;
export const HEADER_WORDS = 16;

export const DIRECTORY_WORDS = 8;
/** Words 0-3 of a directory entry: external address, wire order. */
export const DIRECTORY_ADDRESS = 0;
/** Word 4: egress space (high half), port / 1024 (low half). */
export const DIRECTORY_PLACE = 4;
/** Word 5: family, 4 or 6; 0 for an unused chunk. Written last. */
export const DIRECTORY_FAMILY = 5;

export const SLOT_WORDS = 8;
/** Words 0-3 of a slot: internal address, wire order. */
export const SLOT_ADDRESS = 0;
/** Word 4: owner space (high half), internal port, host order (low half). 0: the slot was never used. */
export const SLOT_OWNER = 4;
/** Word 5: one of `SLOT_FREE`, `SLOT_LIVE`, `SLOT_HELD`. Written last. */
export const SLOT_STATE = 5;
/** Word 6: number of flows that use the mapping. */
export const SLOT_REFERENCES = 6;
/** Word 7: end of the hold, int32 ms. */
export const SLOT_UNTIL = 7;

export const SLOT_FREE = 0;
export const SLOT_LIVE = 1;
export const SLOT_HELD = 2;

/** Ports of one chunk, and the shift from a port to its chunk number. */
export const CHUNK_PORTS = 1024;
export const CHUNK_SHIFT = 10;
/** Chunks that the 65536 ports of an address make. */
export const CHUNKS_PER_ADDRESS = 64;
export const CLASS_TCP = 0;
export const CLASS_UDP = 1;
export const CLASS_ICMP = 2;
export const CLASSES = 3;
export const CHUNK_SLOTS = CHUNK_PORTS * CLASSES;

/** Words of a section with so many chunks. */
export function translationWords(chunks: number): number {
  return HEADER_WORDS + chunks * (DIRECTORY_WORDS + CHUNK_SLOTS * SLOT_WORDS);
}

/** Chunks that a section of so many words holds. */
export function translationChunks(words: number): number {
  return Math.max(0, Math.floor((words - HEADER_WORDS) / (DIRECTORY_WORDS + CHUNK_SLOTS * SLOT_WORDS)));
}

/** Chunks that one address with this inclusive range of ports takes. */
export function chunksOfRange(portMin: number, portMax: number): number {
  return (portMax >>> CHUNK_SHIFT) - (portMin >>> CHUNK_SHIFT) + 1;
}

/** Word of a chunk's directory entry. */
export function directoryAt(chunk: number): number {
  return HEADER_WORDS + chunk * DIRECTORY_WORDS;
}

/** Word of the first slot. */
export function firstSlotAt(chunks: number): number {
  return HEADER_WORDS + chunks * DIRECTORY_WORDS;
}

export function chunkOfSlot(slot: number): number {
  return (slot / CHUNK_SLOTS) | 0;
}

export function classOfSlot(slot: number): number {
  return (slot % CHUNK_SLOTS) >>> CHUNK_SHIFT;
}

export function slotOf(chunk: number, protocolClass: number, port: number): number {
  return (chunk * CHUNK_SLOTS + (protocolClass << CHUNK_SHIFT) + (port & (CHUNK_PORTS - 1))) | 0;
}
