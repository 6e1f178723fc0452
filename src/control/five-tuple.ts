/** Addresses and ports of a flow as one of its ends sends them, whatever an address is written as. */
export interface Endpoints<Address> {
  readonly source: Address;
  readonly destination: Address;
  /** Ports, host order; an ICMP query's identifier. */
  readonly sourcePort: number;
  readonly destinationPort: number;
}

/** The same as the other end sends them. */
export function reversed<Address>(endpoints: Endpoints<Address>): Endpoints<Address> {
  return {
    source: endpoints.destination,
    sourcePort: endpoints.destinationPort,
    destination: endpoints.source,
    destinationPort: endpoints.sourcePort,
  };
}
