/**
 * Port forwards: what may come in from an egress unasked. Static, from the plan; each names one external
 * address, protocol and port, and the site, address and port it leads to.
 */
import type { FlowKey } from '../flow/layout.ts';
import type { Address } from '../wire/address.ts';
import { swap16 } from '../wire/byte-order.ts';
import { type PacketView, PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/packet.ts';
import { AddressMap } from './address-map.ts';
import type { Plan } from './plan.ts';
import { planAddress } from './plan-address.ts';
import { isAddress } from './port-table.ts';

export interface PortForward {
  readonly protocol: number;
  readonly external: Address;
  readonly port: number;
  readonly space: number;
  /** Internal address, wire-order words; IPv4 in the last. */
  readonly words: Int32Array;
  /** Internal port as it stands in the low half of a ports word. */
  readonly portWire: number;
}

export class PortForwards {
  private readonly forwards: readonly PortForward[];
  /** Places in {@link forwards}, by external address and protocol and port. */
  private readonly places: AddressMap;

  constructor(plan: Plan) {
    const forwards: PortForward[] = [];
    for (const port of plan.ports) {
      if (port.role !== 'egress') continue;
      for (const forward of port.portForwards) {
        const external = planAddress(forward.address);
        forwards.push({
          protocol: forward.protocol === 'tcp' ? PROTOCOL_TCP : PROTOCOL_UDP,
          external,
          port: forward.port,
          space: forward.to.space,
          words: planAddress(forward.to.address).words,
          portWire: swap16(forward.to.port),
        });
      }
    }
    this.forwards = forwards;
    this.places = new AddressMap(
      forwards.map(({ external, protocol, port }, value) => ({
        address: external,
        detail: detailOf(protocol, port),
        value,
      })),
    );
  }

  /** The forward that a packet from an egress is for. */
  find(view: PacketView): PortForward | undefined {
    const { family, protocol, dst0, dst1, dst2, dst3, destinationPort } = view;
    const place = this.places.get(family, dst0, dst1, dst2, dst3, detailOf(protocol, destinationPort));
    return place < 0 ? undefined : this.forwards[place];
  }

  /** Whether a flow with these keys, of the originator and of the reply, would be let in as it was. Control path. */
  has(originator: FlowKey, reply: FlowKey): boolean {
    const protocol = (originator.meta >>> 8) & 0xff;
    const family = originator.meta & 0xff;
    const { dst0, dst1, dst2, dst3 } = originator;
    return this.forwards.some(
      ({ external, ...forward }) =>
        forward.protocol === protocol &&
        forward.port === swap16(originator.ports >>> 16) &&
        isAddress(external, family, dst0, dst1, dst2, dst3) &&
        forward.space === reply.meta >>> 16 &&
        forward.portWire === (reply.ports & 0xffff) &&
        forward.words[0] === reply.src0 &&
        forward.words[1] === reply.src1 &&
        forward.words[2] === reply.src2 &&
        forward.words[3] === reply.src3,
    );
  }
}

function detailOf(protocol: number, port: number): number {
  return (protocol << 16) | port;
}
