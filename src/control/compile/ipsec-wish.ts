/**
 * What the compiler wishes of IPsec: tunnels of type `ipsec`, and what protects GRE tunnels.
 *
 * Neighbours: `ipsec.ts`, `gre.ts` (who wish), `../ipsec/ipsec-service.ts` (runs what is wished for here).
 */
import type { IpsecTunnel } from '../../tunnel/ipsec/connection.ts';
import { knownProposal } from '../../tunnel/ipsec/proposals.ts';
import type { UplinkPath } from '../../tunnel/ipsec/user-space-host.ts';
import type { ChildConfig, IkeConfig } from '../config/ipsec-config.ts';
import type { IpsecDriverName } from '../facts.ts';

/** A tunnel that is to run. */
export interface IpsecWish {
  readonly driver: IpsecDriverName;
  /** What makes it another tunnel: driver, site, ends, identities. What runs under another key is not this one. */
  readonly key: string;
  readonly tunnel: IpsecTunnel;
  /** Says how it authenticates. */
  readonly ike: IkeConfig;
  /** Where its packets leave; a sentence if they cannot now. */
  readonly path: UplinkPath | string;
}

/** What an IPsec connection is made from, whatever the type of its tunnel. */
export interface IpsecEnds {
  readonly name: string;
  readonly local: string;
  readonly remote: string | null;
  readonly ike: IkeConfig;
  readonly child: ChildConfig;
}

export function ipsecTunnel(
  { name, local, remote, ike, child }: IpsecEnds,
  protects: IpsecTunnel['protects'],
  kernel: IpsecTunnel['kernel'],
): IpsecTunnel {
  return {
    name,
    local,
    remote,
    localId: ike.localId,
    remoteId: ike.remoteId,
    ikeProposals: ike.proposals.map((text) => knownProposal('ike', text)),
    espProposals: child.proposals.map((text) => knownProposal('esp', text)),
    ikeRekeyMs: ike.rekeyMs,
    childRekeyMs: child.rekeyMs,
    dpdMs: ike.dpdMs,
    replayProtection: child.replayProtection,
    start: ike.start,
    protects,
    kernel,
  };
}

/** What tells a connection from others, as one text. */
export function ipsecFingerprint({ local, remote, ike }: IpsecEnds): string {
  return `${local} ${remote ?? 'any'} ${ike.localId} ${ike.remoteId}`;
}
