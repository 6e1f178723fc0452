/**
 * One tunnel as the reconciler follows it: what is wanted, what its daemon has and shows of it, why it is down, and when it
 * is tried again. Asks nobody.
 *
 * Neighbours: `reconciler.ts` (the owner), `daemon-copy.ts`, `sa-judgement.ts`, `sa-traffic.ts`, `tunnel-state.ts`.
 */
import type { ViciClient } from '../../vici/client.ts';
import type { IkeSa } from '../../vici/views.ts';
import type { IpsecCredentials, IpsecTunnel } from './connection.ts';
import { DaemonCopy } from './daemon-copy.ts';
import { NO_ANSWER } from './failure-reasons.ts';
import type { PeerCertificate } from './peer-certificate.ts';
import { carrierOf } from './sa-judgement.ts';
import { type IpsecTraffic, type Rekeyings, SaTraffic } from './sa-traffic.ts';
import { type IpsecTunnelStatus, TunnelState } from './tunnel-state.ts';

const FIRST_RETRY_MS = 1_000;
const MAX_RETRY_MS = 15_000;
/** Between two reasons that the log tells of a tunnel that is down. */
const TELL_MS = 10_000;

/** A tunnel with the way to its secrets, which are read anew for every attempt: they may have been put right. */
export interface WantedTunnel {
  readonly tunnel: IpsecTunnel;
  /** Why its packets cannot leave now, which is told instead of a peer that does not answer; absent if they can. */
  readonly obstacle?: string;
  /** Throws with a sentence that names the file. */
  readonly credentials: () => IpsecCredentials;
}

/** What is known of a tunnel beside its state. */
export interface IpsecDetails {
  /** As they were last seen. */
  readonly sas: readonly IkeSa[];
  readonly traffic: IpsecTraffic;
  readonly rekeyings: Rekeyings;
  /** undefined: it has shown none. */
  readonly peerCertificate: PeerCertificate | undefined;
}

export class TrackedTunnel {
  readonly state: TunnelState;
  readonly copy: DaemonCopy;
  readonly traffic = new SaTraffic();
  /** Why the last attempt failed, mostly from the daemon's log. */
  reason: string | undefined;
  isAttempting = false;
  peerCertificate: PeerCertificate | undefined;
  /** The SA that the peer's certificate is known of, by its unique id. */
  certified: string | undefined;
  #wanted: WantedTunnel;
  /** The last reason that was no matter of the tunnel. */
  #daemonFailure: string | undefined;
  #sas: readonly IkeSa[] = [];
  /** When the log last changed what is told of it, `performance.now()`. */
  #toldAtMs = Number.NEGATIVE_INFINITY;
  #retry: NodeJS.Timeout | undefined;
  #retryMs = FIRST_RETRY_MS;
  #reload: NodeJS.Timeout | undefined;

  constructor(
    wanted: WantedTunnel,
    client: ViciClient,
    onState: (status: IpsecTunnelStatus, former: IpsecTunnelStatus) => void,
  ) {
    this.#wanted = wanted;
    this.copy = new DaemonCopy(client);
    this.state = new TunnelState(onState);
  }

  get wanted(): WantedTunnel {
    return this.#wanted;
  }

  get tunnel(): IpsecTunnel {
    return this.#wanted.tunnel;
  }

  /** All that the daemon has of it, as they were last seen. */
  get sas(): readonly IkeSa[] {
    return this.#sas;
  }

  get details(): IpsecDetails {
    const { total, rekeyings } = this.traffic;
    return { sas: this.#sas, traffic: total, rekeyings, peerCertificate: this.peerCertificate };
  }

  /** The SA that carries its packets. */
  get carrier(): IkeSa | undefined {
    return carrierOf(this.tunnel, this.#sas);
  }

  get isUp(): boolean {
    return this.carrier !== undefined;
  }

  /** Whether nothing is left to do for us until the peer calls. */
  get isPeersTurn(): boolean {
    return this.tunnel.start === 'respond' && this.copy.isLoaded;
  }

  /** What is in the way is known better than what comes of it. */
  get whyDown(): string {
    return this.#wanted.obstacle ?? this.reason ?? NO_ANSWER;
  }

  /** It is wanted otherwise now, or as before. */
  become(wanted: WantedTunnel): void {
    const wasObstructed = this.#wanted.obstacle !== undefined;
    this.#wanted = wanted;
    const { obstacle } = wanted;
    if (obstacle !== undefined && this.state.status.state === 'down') this.state.down(obstacle);
    else if (wasObstructed) this.#retryMs = FIRST_RETRY_MS;
  }

  /** These are its SAs now. */
  see(sas: readonly IkeSa[]): void {
    this.#sas = sas;
    this.traffic.look(sas);
  }

  /** The daemon is gone, and with it all that it had. */
  lost(): void {
    this.copy.forget();
    this.#sas = [];
    this.#clearRetry();
    if (this.state.status.state === 'up') this.daemonFailed('the IKE daemon is gone');
  }

  /** What became of the daemon or the way to it. */
  daemonFailed(reason: string): void {
    this.#daemonFailure = reason;
    this.state.down(reason);
  }

  /** It is the peer's to begin. That there was no daemon keeps nothing down when there is one again. */
  waits(): void {
    if (this.state.status.reason === this.#daemonFailure) this.state.waitsAgain();
    else this.state.waits();
  }

  /** Another daemon, which has nothing of it. */
  startOver(): void {
    this.copy.forget();
    this.#retryMs = FIRST_RETRY_MS;
  }

  /** It carries packets: whatever there was before is over. */
  arrived(): void {
    this.reason = undefined;
    this.#retryMs = FIRST_RETRY_MS;
    this.#clearRetry();
    this.state.up();
  }

  /** The next attempt is not waited for. */
  hurry(): void {
    this.#retryMs = 0;
  }

  /** Calls `attempt` when it is time for the next one; twice as long after every one that did not help. */
  retryLater(attempt: () => void): void {
    if (this.isAttempting || this.#retry !== undefined) return;
    const pauseMs = this.state.status.state === 'configured' ? 0 : this.#retryMs;
    this.#retry = setTimeout(() => {
      this.#retry = undefined;
      this.#retryMs = this.#retryMs === 0 ? FIRST_RETRY_MS : Math.min(this.#retryMs * 2, MAX_RETRY_MS);
      attempt();
    }, pauseMs);
  }

  /** Calls `reload` after a while, once for all that ask meanwhile. */
  reloadLater(reload: () => void, delayMs: number): void {
    this.#reload ??= setTimeout(() => {
      this.#reload = undefined;
      reload();
    }, delayMs);
  }

  /**
   * Why it is down, as the log has it. Whoever may write to our IKE ports makes such lines, as many and as various as
   * they like: after the first one, the next is told when that was a while ago. Our own attempts tell theirs at their end.
   */
  tell(reason: string): void {
    this.reason = reason;
    const now = performance.now();
    const { state } = this.state.status;
    if (state === 'up' || (state === 'down' && now - this.#toldAtMs < TELL_MS)) return;
    this.#toldAtMs = now;
    this.state.down(this.whyDown);
  }

  /** Nothing happens by itself any more. */
  stop(): void {
    this.#clearRetry();
    clearTimeout(this.#reload);
  }

  #clearRetry(): void {
    clearTimeout(this.#retry);
    this.#retry = undefined;
  }
}
