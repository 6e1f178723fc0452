/**
 * Ports and devices while they are compiled: everything but the numbers. Those are given out only when the
 * whole configuration has turned out to be right, so that a refused one uses up none.
 */
import type { PlanDiversionPort, PlanEgressPort, PlanLink, PlanTunnelPort } from '../../pipeline/plan.ts';
import type { HostDevice } from './host-setup.ts';

/** `device` by name instead of by number; null while the port is down for what the host lacks. */
type NamedDevice<L> = L extends PlanLink ? Omit<L, 'device'> & { readonly device: string | null } : never;

export type LinkDraft = NamedDevice<PlanLink>;

interface PortDraftCommon {
  /** Name of the site, egress or diversion. */
  readonly spaceName: string;
  /** What it leads to: see `SpaceRequest.members`. */
  readonly fingerprint: string;
  readonly link: LinkDraft;
}

type NumberedFields = 'index' | 'generation' | 'space' | 'link';

export type TunnelDraft = PortDraftCommon & Omit<PlanTunnelPort, NumberedFields>;
export type EgressDraft = PortDraftCommon &
  Omit<PlanEgressPort, NumberedFields | 'portForwards'> & {
    readonly portForwards: readonly PortForwardDraft[];
  };
export type DiversionDraft = PortDraftCommon & Omit<PlanDiversionPort, NumberedFields>;
export type PortDraft = TunnelDraft | EgressDraft | DiversionDraft;

export interface PortForwardDraft {
  readonly protocol: 'tcp' | 'udp';
  readonly address: string;
  readonly port: number;
  readonly to: { readonly site: string; readonly address: string; readonly port: number };
}

type WithoutIndex<D> = D extends HostDevice ? Omit<D, 'index'> : never;

/** A device as the plan and the host side will see it. */
export interface DeviceDraft {
  readonly planKind: 'ethernet' | 'ip' | 'tun';
  /** Ethernet only. */
  readonly mac?: string;
  readonly host: WithoutIndex<HostDevice>;
}

/** The same port, down: it keeps its identity, and with it its flows, which wait. */
export function asDown<D extends PortDraft>(draft: D): D {
  return { ...draft, link: { ...draft.link, device: null } };
}
