/**
 * Ids of IPsec tunnels in the kernel: each has one of its own, which no interface of the host has, and keeps it for as long
 * as it has its interface, over restarts as well. Without one it is a hash of what the tunnel is.
 *
 * Neighbours: `ipsec.ts`, `../../tunnel/ipsec/kernel-host.ts` (which ids are ours).
 */
import { createHash } from 'node:crypto';
import { isOwnId, OWN_IDS } from '../../tunnel/ipsec/kernel-host.ts';
import type { HostFacts } from '../facts.ts';
import { linkByName } from './devices.ts';

export class KernelIdDrafts {
  readonly #facts: HostFacts;
  /** Whose interface has it, by id. */
  readonly #holders: ReadonlyMap<number, string>;
  readonly #taken = new Set<number>();

  constructor(facts: HostFacts) {
    this.#facts = facts;
    this.#holders = new Map(
      Object.entries(facts.links).flatMap(([name, { interfaceId }]) =>
        interfaceId === undefined ? [] : [[interfaceId, name]],
      ),
    );
  }

  /**
   * @param tunnel what it is, as one text
   * @param link name of its interface, if it has one
   */
  take(tunnel: string, link?: string): number {
    const former = link === undefined ? undefined : linkByName(this.#facts, link)?.interfaceId;
    let id = former !== undefined && isOwnId(former) ? former : hashed(tunnel);
    while (!this.#isFree(id, link)) id = OWN_IDS.first + ((id - OWN_IDS.first + 1) % OWN_IDS.count);
    this.#taken.add(id);
    return id;
  }

  #isFree(id: number, link: string | undefined): boolean {
    const holder = this.#holders.get(id);
    return !this.#taken.has(id) && (holder === undefined || holder === link);
  }
}

function hashed(text: string): number {
  return OWN_IDS.first + (createHash('sha256').update(text).digest().readUInt32BE(0) % OWN_IDS.count);
}
