/** What a tunnel's test says of an `ipsec` tunnel beside its echo requests: whether the peer is there, and what it agreed on. */
import { peerAnswer } from '../../tunnel/ipsec/failure-reasons.ts';
import type { IpsecTunnelStatus } from '../../tunnel/ipsec/tunnel-state.ts';
import type { IpsecView } from '../ipsec/ipsec-view.ts';

export interface IpsecConnection {
  /**
   * - `connected`: there are SAs
   * - `silent`: it does not answer
   * - `refused`: it was reached, and there is no agreement; `reason` says in words what was wrong
   * - `waiting`: nothing was tried, or it is the peer's to begin
   * - `blocked`: it cannot be tried; `reason` says why
   */
  readonly peer: 'connected' | 'silent' | 'refused' | 'waiting' | 'blocked';
  readonly reason: string | null;
  /** Where the peer is, as address and port; null: there is no SA. */
  readonly address: string | null;
  readonly ikeProposal: string | null;
  readonly childProposal: string | null;
  /** Bytes of the largest packet inside. */
  readonly mtu: number;
}

export function ipsecConnection(status: IpsecTunnelStatus, view: IpsecView, mtu: number): IpsecConnection {
  const { ike, child } = view;
  const isUp = status.state === 'up';
  return {
    peer: peerOf(status),
    reason: status.reason,
    address: isUp && ike !== null ? `${ike.peer} port ${ike.peerPort}` : null,
    ikeProposal: isUp ? (ike?.proposal ?? null) : null,
    childProposal: isUp ? (child?.proposal ?? null) : null,
    mtu,
  };
}

function peerOf({ state, reason }: IpsecTunnelStatus): IpsecConnection['peer'] {
  if (state === 'up') return 'connected';
  if (state !== 'down') return 'waiting';
  const answer = reason === null ? 'unknown' : peerAnswer(reason);
  return answer === 'unknown' ? 'blocked' : answer;
}
