/**
 * Whom a tunnel's test asks, and how it was found.
 *
 * | | |
 * | --- | --- |
 * | `request` | whoever asked for the test named it |
 * | `configuration` | what health checks ask: `health.target`, the next hop, or the only other host of the tunnel's own network (`default-target.ts`) |
 * | `neighbor` | on link: who was heard last |
 * | `flow` | the host behind the tunnel in its newest flow |
 *
 * Neighbours: `tunnel-tests.ts`; the data plane knows the neighbours, the flow memory the flows.
 */
import { parseAddress } from '../../wire/address.ts';
import type { TunnelConfig } from '../config/config.ts';
import type { FlowService } from '../flows/flow-service.ts';
import type { FlowView } from '../flows/flow-view.ts';
import type { Supervisor } from '../runtime/supervisor.ts';
import { defaultTarget } from './default-target.ts';

export type TargetOrigin = 'request' | 'configuration' | 'neighbor' | 'flow';

export interface TestTarget {
  readonly address: string;
  readonly origin: TargetOrigin;
}

/** Flows that are looked at for one whose host can be asked. */
const NEWEST_FLOWS = 20;

export class TestTargets {
  readonly #supervisor: Supervisor;
  readonly #flows: FlowService;

  constructor(supervisor: Supervisor, flows: FlowService) {
    this.#supervisor = supervisor;
    this.#flows = flows;
  }

  /**
   * Undefined: nobody is known.
   *
   * @throws DataPlaneGoneError
   */
  async of(tunnel: TunnelConfig, requested: string | undefined): Promise<TestTarget | undefined> {
    if (requested !== undefined) return { address: requested, origin: 'request' };
    const configured = tunnel.health?.target ?? defaultTarget(tunnel);
    if (configured !== undefined) return { address: configured, origin: 'configuration' };
    if (tunnel.interfaceAddresses.length === 0) return undefined;
    const { address } = await this.#supervisor.ask({ type: 'neighbor', port: tunnel.name }, 'neighbor');
    if (address !== null) return { address, origin: 'neighbor' };
    const host = await this.#hostOfNewestFlow(tunnel);
    return host === undefined ? undefined : { address: host, origin: 'flow' };
  }

  async #hostOfNewestFlow({ name, interfaceAddresses }: TunnelConfig): Promise<string | undefined> {
    const families = interfaceAddresses.map(({ address }) => familyOf(address));
    // The tunnel may be too new for the plan that runs, or the flow memory away.
    const page = await this.#flows
      .list({ tunnel: name, order: 'newest', limit: NEWEST_FLOWS })
      .catch(() => undefined);
    return page?.flows
      .map((flow) => hostBehind(name, flow))
      .find((host) => host !== undefined && families.includes(familyOf(host)));
  }
}

/** The end of a flow that a tunnel leads to. */
function hostBehind(tunnel: string, { ingress, egress, original, translated }: FlowView): string | undefined {
  if (ingress === tunnel) return original.source;
  return egress === tunnel ? (translated ?? original).destination : undefined;
}

function familyOf(address: string): number | undefined {
  return parseAddress(address)?.family;
}
