/**
 * The gateway's own addresses: tunnel endpoints, interface addresses, the uplinks' and external ones. No site
 * reaches them through homeward, with two exceptions: ping to the addresses of the port it came in by
 * (`echo-responder.ts`), and hairpinning to the sender's own site by an external address (`flow-setup.ts`).
 *
 * Nor does anybody else send from them: a packet with such a source is forged, unless the host itself may have sent
 * it. An interface address is the gateway's on its own tunnel only; another site may have a host with it.
 *
 * Few addresses, looked at once for a new flow: a flat list.
 */
import type { Address } from '../wire/address.ts';
import { IPV4 } from '../wire/packet.ts';
import type { Plan } from './plan.ts';
import { planAddress } from './plan-address.ts';
import { isAddress } from './port-table.ts';

const ENTRY_WORDS = 7;
const EGRESS = 5;
const IS_INTERFACE = 6;

export class GatewayAddresses {
  /** Seven words each: family, address (4, wire order), egress port or -1, 1 for a mere interface address. */
  private readonly entries: Int32Array;
  /** By port: interface addresses, as above. */
  private readonly ownOf: (readonly Address[] | undefined)[] = [];
  /** Ports by which packets of the host itself come in: those of TUN devices. */
  private readonly hostPorts = new Set<number>();

  constructor(plan: Plan) {
    const entries: number[] = [];
    const seen = new Set<string>();
    const keyOf = ({ family, words }: Address): string => [family, ...words].join();
    const interfaces = new Set<string>();
    for (const port of plan.ports) {
      this.ownOf[port.index] = port.addresses.map(planAddress);
      if (port.role === 'tunnel') for (const own of this.ownOf[port.index]!) interfaces.add(keyOf(own));
      const { link } = port;
      const device = plan.devices.find(({ index }) => index === link.device);
      if (device?.kind === 'tun') this.hostPorts.add(port.index);
    }
    const add = (text: string, egress: number): void => {
      const address = planAddress(text);
      const key = keyOf(address);
      if (seen.has(key)) return;
      seen.add(key);
      const isInterface = egress < 0 && interfaces.has(key);
      entries.push(address.family, ...address.words, egress, isInterface ? 1 : 0);
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
    return at < 0 ? -1 : this.entries[at + EGRESS];
  }

  /** Whether a packet that came in by `port` cannot be from this address, because it is the gateway's own. */
  isForgedSource(
    port: number,
    family: number,
    word0: number,
    word1: number,
    word2: number,
    word3: number,
  ): boolean {
    if (this.hostPorts.has(port)) return false;
    const at = this.find(family, word0, word1, word2, word3);
    if (at < 0) return false;
    if (this.entries[at + IS_INTERFACE] === 0) return true;
    const own = this.ownOf[port];
    if (own === undefined) return false;
    for (let i = 0; i < own.length; i++)
      if (isAddress(own[i], family, word0, word1, word2, word3)) return true;
    return false;
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
