/**
 * The gateway's own addresses: tunnel endpoints, interface addresses, the uplinks' and external ones. No site
 * reaches them through homeward, with two exceptions: ping to the addresses of the port it came in by
 * (`local-delivery.ts`), and hairpinning to the sender's own site by an external address (`flow-setup.ts`).
 *
 * Few addresses, looked at once for a new flow: a flat list.
 */
import { IPV4 } from '../wire/packet.ts';
import type { Plan } from './plan.ts';
import { planAddress } from './plan-address.ts';

const ENTRY_WORDS = 6;

export class GatewayAddresses {
  /** Six words each: family, address (4, wire order), egress port or -1. */
  private readonly entries: Int32Array;

  constructor(plan: Plan) {
    const entries: number[] = [];
    const seen = new Set<string>();
    const add = (text: string, egress: number): void => {
      const { family, words } = planAddress(text);
      const entry = [family, ...words];
      if (seen.has(entry.join())) return;
      seen.add(entry.join());
      entries.push(...entry, egress);
    };
    for (const port of plan.ports) {
      if (port.role === 'egress') for (const pool of port.pools) add(pool.address, port.index);
    }
    for (const address of plan.gatewayAddresses) add(address, -1);
    for (const port of plan.ports) for (const address of port.addresses) add(address, -1);
    this.entries = Int32Array.from(entries);
  }

  has(family: number, word0: number, word1: number, word2: number, word3: number): boolean {
    return this.find(family, word0, word1, word2, word3) >= 0;
  }

  /** The egress port that translates to this address, -1 if there is none. */
  egressOf(family: number, word0: number, word1: number, word2: number, word3: number): number {
    const at = this.find(family, word0, word1, word2, word3);
    return at < 0 ? -1 : this.entries[at + 5];
  }

  private find(family: number, word0: number, word1: number, word2: number, word3: number): number {
    const entries = this.entries;
    for (let at = 0; at < entries.length; at += ENTRY_WORDS) {
      if (entries[at + 4] !== word3 || entries[at] !== family) continue;
      if (family === IPV4) return at;
      if (entries[at + 1] === word0 && entries[at + 2] === word1 && entries[at + 3] === word2) return at;
    }
    return -1;
  }
}
