/**
 * Diversions, as plugins have them: what a manifest declares, what the control half that runs the proxy is given, and what it is
 * told of flows. `docs/divert.md` draws the whole.
 *
 * Neighbours: `contract.ts` (the rest of the contract), `diversion-addresses.ts`.
 */

/** A diversion that a manifest declares: which ports its proxy listens on. At least one. */
export interface PluginDiversionManifest {
  readonly name: string;
  readonly tcp?: number | undefined;
  readonly udp?: number | undefined;
}

/** A diversion, for the control half that runs a proxy in it: see docs/divert.md. */
export interface PluginDiversion {
  readonly name: string;
  /** The network namespace: `ip netns exec NAMESPACE COMMAND...` begins the proxy there. */
  readonly namespace: string;
  /** Where the proxy has to listen, and on which ports; null: it gets nothing of this protocol. */
  readonly addresses: { readonly ipv4: string; readonly ipv6: string };
  readonly tcp: number | null;
  readonly udp: number | null;
  /** The addresses to send on from for the site of an address space: nothing is taken from any other. */
  sourceFor(space: number): { readonly ipv4: string; readonly ipv6: string };
  /**
   * Whose connection or datagram has come from this address and port. Undefined: there is no such flow any more, and
   * what has come must not be answered.
   */
  lookup(protocol: 'tcp' | 'udp', address: string, sourcePort: number): Promise<DivertedFlow | undefined>;
  /** The proxy listens: flows may come. */
  ready(): void;
  /** It does not, for this reason: flows are dropped, until it is ready again. */
  gone(reason: string): void;
}

/** What a proxy is told of a flow. */
export interface DivertedFlow {
  readonly flow: number;
  /** Address space of its site: what is kept of hosts, names or connections is kept by it. */
  readonly space: number;
  readonly site: string;
  /** Name of the tunnel that it comes by; of a diversion, where a proxy has begun it. */
  readonly ingress: string;
  /** Who has begun it, and who it was for. */
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
}
