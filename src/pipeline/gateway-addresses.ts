/**
 * The gateway's own addresses: tunnel endpoints, interface addresses, the uplinks' and external ones. No site
 * reaches them through homeward, with two exceptions: ping to the addresses of the port it came in by
 * (`echo-responder.ts`), and hairpinning to the sender's own site by an external address (`flow-setup.ts`).
 *
 * Nor does anybody else send from them: a packet with such a source is forged, unless the host itself may have sent
 * it. An interface address is the gateway's on its own tunnel only; another site may have a host with it.
 */
import type { Address } from '../wire/address.ts';
import { type AddressEntry, AddressMap } from './address-map.ts';
import type { Plan } from './plan.ts';
import { planAddress } from './plan-address.ts';
import { MAX_PORTS } from './port-table.ts';

const NO_EGRESS = 0;
const INTERFACE = 1;
/** Added to an egress port. */
const EGRESS = 2;

export class GatewayAddresses {
  /** What an address is: {@link NO_EGRESS}, {@link INTERFACE} (a mere interface address), or of which egress. */
  private readonly kinds: AddressMap;
  /** Interface addresses, with the port as detail. */
  private readonly own: AddressMap;
  /** By port: 1 where packets of the host itself come in, by TUN devices. */
  private readonly isHostPort = new Uint8Array(MAX_PORTS);

  constructor(plan: Plan) {
    const tunDevices = new Set(plan.devices.filter(({ kind }) => kind === 'tun').map(({ index }) => index));
    const own: AddressEntry[] = [];
    const interfaces = new Set<string>();
    for (const port of plan.ports) {
      for (const address of port.addresses.map(planAddress)) {
        own.push({ address, detail: port.index, value: 0 });
        if (port.role !== 'egress') interfaces.add(keyOf(address));
      }
      if (tunDevices.has(port.link.device)) this.isHostPort[port.index] = 1;
    }
    const kinds: AddressEntry[] = [];
    // External addresses first: of several entries of an address the first counts.
    for (const port of plan.ports) {
      if (port.role !== 'egress') continue;
      for (const pool of port.pools) {
        kinds.push({ address: planAddress(pool.address), detail: 0, value: EGRESS + port.index });
      }
    }
    for (const text of [...plan.gatewayAddresses, ...plan.ports.flatMap(({ addresses }) => addresses)]) {
      const address = planAddress(text);
      kinds.push({ address, detail: 0, value: interfaces.has(keyOf(address)) ? INTERFACE : NO_EGRESS });
    }
    this.own = new AddressMap(own);
    this.kinds = new AddressMap(kinds);
  }

  has(family: number, word0: number, word1: number, word2: number, word3: number): boolean {
    return this.kinds.get(family, word0, word1, word2, word3, 0) >= 0;
  }

  /** The egress port that translates to this address, -1 if there is none. */
  egressOf(family: number, word0: number, word1: number, word2: number, word3: number): number {
    const kind = this.kinds.get(family, word0, word1, word2, word3, 0);
    return kind < EGRESS ? -1 : kind - EGRESS;
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
    if (this.isHostPort[port] !== 0) return false;
    const kind = this.kinds.get(family, word0, word1, word2, word3, 0);
    if (kind !== INTERFACE) return kind >= 0;
    return this.own.get(family, word0, word1, word2, word3, port) >= 0;
  }
}

function keyOf({ family, words }: Address): string {
  return [family, ...words].join();
}
