/**
 * Brings one IKE daemon to what is configured, and keeps it there; says how each tunnel is.
 *
 * ```
 *  connected (again) --> what is ours and not wanted: unloaded --> what is wanted: loaded --> list-sas --> states
 *  an event, or every few seconds ------------------------------------------------------------> list-sas --> states
 *  not up, ours to begin ---- initiate, then again after 1, 2, 4 ... 15 s, for ever
 * ```
 *
 * SAs are known by the names of connection and child, and by the tunnel's ids in the kernel: unique ids change with every
 * rekeying. Connections that do not begin with our prefix are never touched: the daemon may be another's.
 *
 * Neighbours: `tracked-tunnel.ts` (what is known of each), `daemon-copy.ts` (what the daemon has), `failure-reasons.ts`.
 */
import { ViciClient } from '../../vici/client.ts';
import { ViciError } from '../../vici/errors.ts';
import * as field from '../../vici/fields.ts';
import type { ViciSection } from '../../vici/message.ts';
import type { IkeSa } from '../../vici/views.ts';
import { PATIENCE } from '../patience.ts';
import { CHILD_NAME, connectionName, NO_CONNECTION, tunnelOfConnection } from './connection.ts';
import { terminate, unload, unloadKey } from './daemon-copy.ts';
import { failureReason } from './failure-reasons.ts';
import { Gate } from './gate.ts';
import type { IpsecLog } from './host-tools.ts';
import { peerCertificate } from './peer-certificate.ts';
import { carrierOf, hasFormer, isBeingMade } from './sa-judgement.ts';
import { type IpsecDetails, TrackedTunnel, type WantedTunnel } from './tracked-tunnel.ts';
import type { IpsecTunnelStatus } from './tunnel-state.ts';

const REFRESH_MS = 5_000;
/** More than the daemon's own retransmissions take. */
const INITIATE_TIMEOUT_MS = 8_000 * PATIENCE;
/** Far more than the daemon is busy with one SA. */
const SETTLE_TIMEOUT_MS = 2_000 * PATIENCE;
/** From a failure that the peer began until secrets are looked at: once for all that come meanwhile. */
const RELOAD_MS = 1_000;
const CONNECTED_LOOK_MS = 50;
const EVENTS = ['ike-updown', 'child-updown', 'ike-update'];
const REKEYINGS = { 'ike-rekey': 'ike', 'child-rekey': 'child' } as const;

export interface ReconcilerOptions {
  readonly socketPath: string;
  readonly log: IpsecLog;
  /** How many tunnels are initiated at a time: each holds up a thread of the daemon. */
  readonly attemptsAtATime: number;
  /** What to say while nobody answers at the socket; absent where whoever starts the daemon says why. */
  readonly absence?: string;
  /** The daemon hangs: it takes questions, and answers none. */
  readonly onSilent?: () => void;
  readonly onState: (tunnel: string, status: IpsecTunnelStatus, former: IpsecTunnelStatus) => void;
  /**
   * The daemon knows the tunnel now, and did not before. Until then peers must not reach it: it would refuse them, and
   * many a peer does not call again. Nothing is begun before this is done; if it rejects, all of it is done again.
   */
  readonly onLoaded?: (tunnel: string) => Promise<void>;
  /** The same of all tunnels: those that cannot be loaded are not waited for. */
  readonly onReconciled?: () => Promise<void>;
}

export class Reconciler {
  readonly #client: ViciClient;
  readonly #options: ReconcilerOptions;
  readonly #tunnels = new Map<string, TrackedTunnel>();
  readonly #attempts: Gate;
  #algorithms: ReadonlyMap<string, readonly string[]> = new Map();
  #refreshTimer: NodeJS.Timeout | undefined;
  /** One thing after the other: what is loaded for a tunnel is there before the tunnel is unloaded. */
  #work: Promise<void> = Promise.resolve();
  #refreshIsDue = false;
  #stopped = false;

  constructor(options: ReconcilerOptions) {
    this.#options = options;
    this.#attempts = new Gate(options.attemptsAtATime);
    this.#client = new ViciClient({
      socketPath: options.socketPath,
      reconcile: () => this.#inTurn(() => this.#reconcile()),
    });
    if (options.onSilent !== undefined) this.#client.on('silent', options.onSilent);
    for (const event of EVENTS) this.#client.handle(event, () => this.#refreshSoon());
    for (const [event, what] of Object.entries(REKEYINGS)) {
      this.#client.handle(event, (rekeyed) => {
        for (const name of rekeyed.keys()) this.#trackedOf(name)?.traffic.rekeyed(what);
        this.#refreshSoon();
      });
    }
    this.#client.handle('log', (event) => this.#readLog(event));
  }

  start(): void {
    this.#client.on('state', (state) => {
      if (state !== 'down') return;
      for (const tracked of this.#tunnels.values()) tracked.lost();
    });
    this.#client.start();
    this.#refreshTimer = setInterval(() => {
      this.#tellAbsence();
      this.#refreshSoon();
    }, REFRESH_MS);
  }

  stop(): void {
    this.#stopped = true;
    clearInterval(this.#refreshTimer);
    for (const tracked of this.#tunnels.values()) tracked.stop();
    this.#client.stop();
  }

  /** Says what is wanted from now on; what is as before is not disturbed. */
  want(wanted: readonly WantedTunnel[]): void {
    const names = new Set(wanted.map(({ tunnel }) => tunnel.name));
    for (const [name, tracked] of this.#tunnels) {
      if (names.has(name)) continue;
      tracked.stop();
      this.#tunnels.delete(name);
      this.#inTurn(() => this.#unload(name, tracked.copy.keyId));
    }
    const all = wanted.map((one) => {
      const { name } = one.tunnel;
      const known = this.#tunnels.get(name);
      known?.become(one);
      const onState = (status: IpsecTunnelStatus, former: IpsecTunnelStatus): void =>
        this.#options.onState(name, status, former);
      const tracked = known ?? new TrackedTunnel(one, this.#client, onState);
      this.#tunnels.set(name, tracked);
      return tracked;
    });
    this.#inTurn(() => this.#bring(all));
  }

  /** Resolves when what {@link want} has asked for is done, or cannot be done now: no daemon listens. */
  settled(): Promise<void> {
    return this.#work;
  }

  /** Resolves when the daemon has been brought to what is wanted for the first time, or when that takes too long. */
  async connected(timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (this.#client.state !== 'up' && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, CONNECTED_LOOK_MS));
    }
  }

  #tellAbsence(): void {
    const { absence } = this.#options;
    if (absence !== undefined && this.#client.state === 'down') this.down(absence);
  }

  /** The daemon listens: not to be waited for any longer. */
  hurry(): void {
    this.#client.hurry();
  }

  /** What became of the daemon or the way to it, for all of its tunnels. */
  down(reason: string): void {
    for (const tracked of this.#tunnels.values()) tracked.daemonFailed(reason);
  }

  status(tunnel: string): IpsecTunnelStatus | undefined {
    return this.#tunnels.get(tunnel)?.state.status;
  }

  details(tunnel: string): IpsecDetails | undefined {
    return this.#tunnels.get(tunnel)?.details;
  }

  /** Asks the daemon how all tunnels are, now. Rejects if it cannot be asked. */
  look(): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#client.state === 'up') await this.#refresh();
    });
  }

  /** Ends the SAs of a tunnel that is up, and has it connect anew. */
  makeAnew(tunnel: string, reason: string): Promise<void> {
    return this.#inTurn(async () => {
      const tracked = this.#tunnels.get(tunnel);
      if (!tracked?.isUp || this.#client.state !== 'up') return;
      await this.#makeAnew(tracked, reason);
      this.#refreshSoon();
    });
  }

  get #isConnected(): boolean {
    return this.#client.state === 'up' || this.#client.state === 'reconciling';
  }

  /** With every new connection to the daemon, which may have forgotten everything. */
  async #reconcile(): Promise<void> {
    this.#algorithms = await this.#client.algorithms();
    for (const { name } of await this.#client.connections()) {
      const tunnel = tunnelOfConnection(name);
      if (tunnel !== undefined && !this.#tunnels.has(tunnel)) await this.#unload(tunnel, undefined);
    }
    for (const tracked of this.#tunnels.values()) {
      tracked.startOver();
      await this.#load(tracked);
    }
    await this.#endFormer();
    await this.#options.onReconciled?.();
    await this.#refresh();
  }

  /** Ends what goes on in the daemon for tunnels that had the names of ours. */
  async #endFormer(): Promise<void> {
    const sas = await this.#client.ikeSas();
    for (const [name, { tunnel }] of this.#tunnels) {
      if (hasFormer(tunnel, sas)) await terminate(this.#client, name);
    }
  }

  /** Gives the daemon what it lacks of these; those that have gone meanwhile are passed over. */
  async #bring(tunnels: readonly TrackedTunnel[]): Promise<void> {
    if (!this.#isConnected) return;
    for (const tracked of tunnels) {
      if (this.#isWanted(tracked)) await this.#load(tracked);
    }
    await this.#refresh();
  }

  /** @returns whether the daemon has all of it. */
  async #load(tracked: TrackedTunnel): Promise<boolean> {
    const { tunnel, credentials } = tracked.wanted;
    try {
      const onFirst = async (): Promise<void> => this.#options.onLoaded?.(tunnel.name);
      const { outcome, formerKey } = await tracked.copy.load(
        tunnel,
        credentials(),
        this.#algorithms,
        onFirst,
      );
      await this.#unloadKey(formerKey);
      // SAs go on as they were made: one that is to be otherwise, or was authenticated otherwise, is made anew.
      if (outcome === 'changed') {
        await this.#makeAnew(tracked, 'it is configured otherwise now, and connects anew');
      }
      return true;
    } catch (error) {
      // The connection to the daemon was lost: all of it is done again with the next one.
      if (error instanceof ViciError && error.code !== 'refused') throw error;
      tracked.reason = (error as Error).message;
      // What is up goes on without.
      if (!tracked.isUp) tracked.state.down(tracked.reason);
      return false;
    }
  }

  /** A private key that no tunnel uses any more is not left in the daemon. */
  async #unloadKey(id: string | undefined): Promise<void> {
    if (id === undefined || [...this.#tunnels.values()].some(({ copy }) => copy.keyId === id)) return;
    await unloadKey(this.#client, id);
  }

  /** Ends its SAs; the next attempt is not waited for. */
  async #makeAnew(tracked: TrackedTunnel, reason: string): Promise<void> {
    tracked.reason = reason;
    tracked.hurry();
    await terminate(this.#client, tracked.tunnel.name);
  }

  async #unload(tunnel: string, keyId: string | undefined): Promise<void> {
    if (!this.#isConnected) return;
    await unload(this.#client, tunnel);
    await this.#unloadKey(keyId);
  }

  #refreshSoon(): void {
    if (this.#refreshIsDue || this.#client.state !== 'up') return;
    this.#refreshIsDue = true;
    this.#inTurn(async () => {
      this.#refreshIsDue = false;
      if (this.#client.state === 'up') await this.#refresh();
    });
  }

  async #refresh(): Promise<void> {
    const sas = Map.groupBy(await this.#client.ikeSas(), ({ name }) => name);
    for (const tracked of this.#tunnels.values()) {
      const seen = sas.get(connectionName(tracked.tunnel.name)) ?? [];
      const isMissed = tracked.isUp && carrierOf(tracked.tunnel, seen) === undefined;
      tracked.see(isMissed ? await this.#settledSas(tracked) : seen);
      this.#judge(tracked);
    }
    await this.#readPeerCertificates();
  }

  /** One that was up and is not seen may be gone, or the daemon be at it: most of all while it is rekeyed. */
  async #settledSas({ tunnel, sas }: TrackedTunnel): Promise<readonly IkeSa[]> {
    try {
      return await this.#client.settledIkeSas(connectionName(tunnel.name), SETTLE_TIMEOUT_MS);
    } catch (error) {
      // Still at it: nothing is known until the next look.
      if (error instanceof ViciError && error.code === 'timeout') return sas;
      throw error;
    }
  }

  /** Once for every SA: the daemon has what it was shown. */
  async #readPeerCertificates(): Promise<void> {
    const unread = [...this.#tunnels.values()].filter(
      ({ copy, carrier, certified }) =>
        copy.keyId !== undefined && carrier !== undefined && certified !== carrier.uniqueId,
    );
    if (unread.length === 0) return;
    const certificates = await this.#client.certificates();
    for (const tracked of unread) {
      tracked.certified = tracked.carrier?.uniqueId;
      tracked.peerCertificate = peerCertificate(certificates, tracked.tunnel.remoteId);
    }
  }

  /** Whether it was not removed meanwhile, by whatever follows it under its name. */
  #isWanted(tracked: TrackedTunnel): boolean {
    return this.#tunnels.get(tracked.tunnel.name) === tracked;
  }

  #judge(tracked: TrackedTunnel): void {
    if (!this.#isWanted(tracked)) return;
    const { state } = tracked;
    if (tracked.isUp) {
      tracked.arrived();
      return;
    }
    if (state.status.state === 'up') state.down(tracked.whyDown);
    if (tracked.sas.some(isBeingMade)) state.connecting();
    else if (tracked.isPeersTurn) tracked.waits();
    else tracked.retryLater(() => void this.#attempt(tracked));
  }

  async #attempt(tracked: TrackedTunnel): Promise<void> {
    if (this.#stopped || this.#client.state !== 'up') return;
    tracked.isAttempting = true;
    tracked.reason = undefined;
    try {
      if (!(await this.#loadInTurn(tracked))) return;
      if (tracked.isPeersTurn) return tracked.state.waitsAgain();
      tracked.state.connecting();
      await this.#attempts.pass(() => this.#initiate(tracked));
    } catch (error) {
      // What a connection that was lost says is of no use.
      if (!(error instanceof ViciError) || error.code !== 'refused') return;
      // Read off the log, the reason may come a moment after the answer.
      await new Promise((resolve) => setTimeout(resolve, 50));
      if (this.#isWanted(tracked) && !tracked.isUp) tracked.state.down(tracked.whyDown);
    } finally {
      tracked.isAttempting = false;
      this.#refreshSoon();
    }
  }

  /** @returns whether the daemon has all of it, and it is still wanted. */
  async #loadInTurn(tracked: TrackedTunnel): Promise<boolean> {
    let isLoaded = false;
    await this.#inTurn(async () => {
      if (this.#client.state === 'up' && this.#isWanted(tracked)) isLoaded = await this.#load(tracked);
    });
    return isLoaded && this.#isWanted(tracked);
  }

  async #initiate(tracked: TrackedTunnel): Promise<void> {
    const { name } = tracked.tunnel;
    // While it waited for its turn, the peer may have called.
    if (this.#stopped || !this.#isWanted(tracked) || tracked.isUp) return;
    const message = { ike: connectionName(name), child: CHILD_NAME };
    await this.#client.block('initiate', message, { timeoutMs: INITIATE_TIMEOUT_MS });
  }

  #readLog(event: ViciSection): void {
    const text = field.text(event, 'msg') ?? '';
    const connection = field.text(event, 'ikesa-name');
    const tracked = this.#trackedOf(connection);
    const reason = failureReason(text);
    if (tracked === undefined || reason === undefined) return;
    tracked.tell(reason);
    // Where the peer begins, nothing but its failures leads to another look at the secrets.
    if (!tracked.isPeersTurn) return;
    tracked.reloadLater(() => this.#inTurn(() => this.#bring([tracked])), RELOAD_MS);
  }

  /** What is of no connection (a peer that nobody knows) is of the only tunnel, unless the daemon has connections of others. */
  #trackedOf(connection = NO_CONNECTION): TrackedTunnel | undefined {
    if (connection !== NO_CONNECTION) return this.#tunnels.get(tunnelOfConnection(connection) ?? '');
    const isAnyones = this.#options.absence !== undefined || this.#tunnels.size !== 1;
    return isAnyones ? undefined : this.#tunnels.values().next().value;
  }

  /** @returns what becomes of the job; nobody has to look. */
  #inTurn(job: () => Promise<void>): Promise<void> {
    const done = this.#work.then(() => (this.#stopped ? undefined : job()));
    this.#work = done.catch((error: Error) =>
      this.#options.log('debug', {}, `the IKE daemon: ${error.message}`),
    );
    return done;
  }
}
