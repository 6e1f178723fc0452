/**
 * The life of one IPsec tunnel as IKE knows it: a part of what users see (`../port-state.ts`).
 *
 * ```
 *                        attempt begun                     child installed
 *  configured ---------------------------> connecting ------------------------> up
 *      |                                     |    ^                             |
 *      | no daemon, no path, no secret       |    | attempt begun after         | peer dead, closed, daemon gone
 *      v                          it failed  v    | one that told no reason     v
 *     down <-------------------------------- down <------------------------------
 * ```
 *
 * `configured`: nothing was tried yet, or it is the peer's to begin. A tunnel that failed stays `down` with its reason
 * while it is tried again: what keeps it down is worth more than that it is being tried.
 */

import type { PortCondition, PortState } from '../port-state.ts';

export type IpsecTunnelState = Extract<PortState, 'configured' | 'connecting' | 'up' | 'down'>;

export interface IpsecTunnelStatus extends PortCondition {
  readonly state: IpsecTunnelState;
}

export class TunnelState {
  #status: IpsecTunnelStatus;
  readonly #onChange: (status: IpsecTunnelStatus, former: IpsecTunnelStatus) => void;
  readonly #now: () => number;

  constructor(
    onChange: (status: IpsecTunnelStatus, former: IpsecTunnelStatus) => void,
    now: () => number = Date.now,
  ) {
    this.#onChange = onChange;
    this.#now = now;
    this.#status = { state: 'configured', reason: null, sinceMs: now() };
  }

  get status(): IpsecTunnelStatus {
    return this.#status;
  }

  /** It is the peer's to begin. What is known of a former connection's end stays. */
  waits(): void {
    if (this.#status.state !== 'down') this.waitsAgain();
  }

  /** As {@link waits}; what kept it down was put right. */
  waitsAgain(): void {
    this.#enter('configured', 'waits for the peer to connect');
  }

  connecting(): void {
    if (this.#status.state === 'configured') this.#enter('connecting', null);
  }

  up(): void {
    this.#enter('up', null);
  }

  /** @param reason without one, what was known before stays. */
  down(reason?: string): void {
    const known = this.#status.state === 'down' ? this.#status.reason : null;
    this.#enter('down', reason ?? known ?? 'the connection ended');
  }

  #enter(state: IpsecTunnelState, reason: string | null): void {
    const former = this.#status;
    if (former.state === state && former.reason === reason) return;
    const sinceMs = former.state === state ? former.sinceMs : this.#now();
    this.#status = { state, reason, sinceMs };
    this.#onChange(this.#status, former);
  }
}
