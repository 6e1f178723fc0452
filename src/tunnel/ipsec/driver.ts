/**
 * What the drivers of `ipsec` tunnels have in common, for whoever runs tunnels.
 *
 * | driver | ESP by | daemons | device |
 * | --- | --- | --- | --- |
 * | `xfrm` (`kernel.ts`) | the kernel | one for all | an XFRM interface for each tunnel, not made here |
 * | `libipsec` (`user-space.ts`) | the daemon | one for each tunnel, in a namespace of its own | the daemon's TUN device |
 *
 * A driver keeps trying for ever and never throws; what is wrong is in the tunnel's status.
 */
import type { IpsecLog, RunTool } from './host-tools.ts';
import type { IpsecDetails, WantedTunnel } from './tracked-tunnel.ts';
import type { IpsecTunnelStatus } from './tunnel-state.ts';
import type { UplinkPath } from './user-space-host.ts';

/** A tunnel with the way to its peer. */
export interface DrivenTunnel extends WantedTunnel {
  /** With another key it is another tunnel, whatever its name. */
  readonly key: string;
  /** Where its packets leave; a sentence if they cannot. */
  readonly path: UplinkPath | string;
}

/** What says which tunnel it is. */
export type TunnelIdentity = Pick<DrivenTunnel, 'key' | 'tunnel'>;

/** Whether one can go on as the other: with other ids in the kernel, SAs and policies are not its own any more. */
export function isSameTunnel(one: TunnelIdentity, other: TunnelIdentity): boolean {
  const [a, b] = [one.tunnel, other.tunnel];
  return (
    a.name === b.name &&
    one.key === other.key &&
    a.kernel?.requestId === b.kernel?.requestId &&
    a.kernel?.interfaceId === b.kernel?.interfaceId
  );
}

export interface IpsecDriverOptions {
  /** For the daemons' files. */
  readonly directory: string;
  /** Tells gateways on one host apart. */
  readonly instance: string;
  readonly run: RunTool;
  readonly log: IpsecLog;
  /** A tunnel came into another state. */
  readonly onState: (tunnel: string, status: IpsecTunnelStatus, former: IpsecTunnelStatus) => void;
}

export interface IpsecDriver {
  /** Says which tunnels there are from now on; resolves when those that are gone have left nothing. */
  apply(tunnels: readonly DrivenTunnel[]): Promise<void>;
  /** undefined: no such tunnel. */
  status(tunnel: string): IpsecTunnelStatus | undefined;
  /** undefined: no such tunnel, or no daemon for it. */
  details(tunnel: string): IpsecDetails | undefined;
  /** Ends everything; nothing is left on the host. */
  stop(): Promise<void>;
}
