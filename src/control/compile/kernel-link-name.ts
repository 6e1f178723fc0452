/**
 * Names of the kernel's tunnel interfaces: the beginning of the tunnel's name, for people, and a hash of what its packets
 * are told by. Other ends, another name: an interface never changes under its name from one network to another.
 *
 * ```
 *  paris-gr-1x4k9q     8 + 1 + 6 characters: what IFNAMSIZ leaves
 * ```
 */
import { createHash } from 'node:crypto';

const TUNNEL_CHARACTERS = 8;
const HASH_CHARACTERS = 6;

/** @param ends what the kernel tells the tunnel's packets by, as one text */
export function kernelLinkName(tunnel: string, ends: string): string {
  const hash = createHash('sha256').update(ends).digest().readUIntBE(0, 6) % 36 ** HASH_CHARACTERS;
  return `${tunnel.slice(0, TUNNEL_CHARACTERS)}-${hash.toString(36).padStart(HASH_CHARACTERS, '0')}`;
}
