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
 * Neighbours: `daemon-copy.ts` (what the daemon has), `sa-judgement.ts`, `tunnel-state.ts`, `failure-reasons.ts`.
 */
import { ViciClient } from '../../vici/client.ts';
import { ViciError } from '../../vici/errors.ts';
import * as field from '../../vici/fields.ts';
import type { ViciSection } from '../../vici/message.ts';
import type { IkeSa } from '../../vici/views.ts';
import {
  CHILD_NAME,
  connectionName,
  type IpsecCredentials,
  type IpsecTunnel,
  NO_CONNECTION,
  tunnelOfConnection,
} from './connection.ts';
import { DaemonCopy, terminate, unload, unloadKey } from './daemon-copy.ts';
import { failureReason } from './failure-reasons.ts';
import { Gate } from './gate.ts';
import type { IpsecLog } from './host-tools.ts';
import { type PeerCertificate, peerCertificate } from './peer-certificate.ts';
import { carrierOf, hasFormer, isBeingMade } from './sa-judgement.ts';
import { type IpsecTraffic, type Rekeyings, SaTraffic } from './sa-traffic.ts';
import { type IpsecTunnelStatus, TunnelState } from './tunnel-state.ts';

const FIRST_RETRY_MS = 1_000;
const MAX_RETRY_MS = 15_000;
const REFRESH_MS = 5_000;
/** More than the daemon's own retransmissions take. */
const INITIATE_TIMEOUT_MS = 8_000;
/** Far more than the daemon is busy with one SA. */
const SETTLE_TIMEOUT_MS = 2_000;
/** Between two reasons that the log tells of a tunnel that is down. */
const TELL_MS = 10_000;
/** From a failure that the peer began until secrets are looked at: once for all that come meanwhile. */
const RELOAD_MS = 1_000;
const CONNECTED_LOOK_MS = 50;
const EVENTS = ['ike-updown', 'child-updown', 'ike-update'];
const REKEYINGS = { 'ike-rekey': 'ike', 'child-rekey': 'child' } as const;

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

export interface ReconcilerOptions {
  readonly socketPath: string;
  readonly log: IpsecLog;
  /** How many tunnels are initiated at a time: each holds up a thread of the daemon. */
  readonly attemptsAtATime: number;
  /** What to say while nobody answers at the socket; absent where whoever starts the daemon says why. */
  readonly absence?: string;
  readonly onState: (tunnel: string, status: IpsecTunnelStatus, former: IpsecTunnelStatus) => void;
  /**
   * The daemon knows the tunnel now, and did not before. Until then peers must not reach it: it would refuse them, and
   * many a peer does not call again. Nothing is begun before this is done; if it rejects, all of it is done again.
   */
  readonly onLoaded?: (tunnel: string) => Promise<void>;
}

interface Entry {
  wanted: WantedTunnel;
  readonly state: TunnelState;
  readonly copy: DaemonCopy;
  /** Why the last attempt failed, from the daemon's log. */
  reason: string | undefined;
  /** When the log last changed what is told of it, `performance.now()`. */
  toldAtMs: number;
  retry: NodeJS.Timeout | undefined;
  retryMs: number;
  isAttempting: boolean;
  /** Until it is loaded anew because of what the log said. */
  reload: NodeJS.Timeout | undefined;
  sas: readonly IkeSa[];
  readonly traffic: SaTraffic;
  peerCertificate: PeerCertificate | undefined;
  /** The SA that the peer's certificate is known of, by its unique id. */
  certified: string | undefined;
}

export class Reconciler {
  readonly #client: ViciClient;
  readonly #options: ReconcilerOptions;
  readonly #entries = new Map<string, Entry>();
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
    for (const event of EVENTS) this.#client.handle(event, () => this.#refreshSoon());
    for (const [event, what] of Object.entries(REKEYINGS)) {
      this.#client.handle(event, (rekeyed) => {
        for (const name of rekeyed.keys()) this.#entryOf(name)?.traffic.rekeyed(what);
        this.#refreshSoon();
      });
    }
    this.#client.handle('log', (event) => this.#readLog(event));
  }

  start(): void {
    this.#client.on('state', (state) => {
      if (state !== 'down') return;
      for (const entry of this.#entries.values()) {
        entry.copy.forget();
        entry.sas = [];
        clearTimeout(entry.retry);
        entry.retry = undefined;
        if (entry.state.status.state === 'up') entry.state.down('the IKE daemon is gone');
      }
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
    for (const entry of this.#entries.values()) forgetTimers(entry);
    this.#client.stop();
  }

  /** Says what is wanted from now on; what is as before is not disturbed. */
  want(wanted: readonly WantedTunnel[]): void {
    const names = new Set(wanted.map(({ tunnel }) => tunnel.name));
    for (const [name, entry] of this.#entries) {
      if (names.has(name)) continue;
      forgetTimers(entry);
      this.#entries.delete(name);
      this.#inTurn(() => this.#unload(name, entry.copy.keyId));
    }
    const changed: Entry[] = [];
    for (const one of wanted) {
      const { name } = one.tunnel;
      const entry = this.#entries.get(name);
      if (entry !== undefined) {
        const wasObstructed = entry.wanted.obstacle !== undefined;
        entry.wanted = one;
        if (one.obstacle !== undefined && entry.state.status.state === 'down') entry.state.down(one.obstacle);
        else if (wasObstructed) entry.retryMs = FIRST_RETRY_MS;
        changed.push(entry);
        continue;
      }
      const added: Entry = {
        wanted: one,
        state: new TunnelState((status, former) => this.#options.onState(name, status, former)),
        copy: new DaemonCopy(this.#client),
        reason: undefined,
        toldAtMs: Number.NEGATIVE_INFINITY,
        retry: undefined,
        retryMs: FIRST_RETRY_MS,
        isAttempting: false,
        reload: undefined,
        sas: [],
        traffic: new SaTraffic(),
        peerCertificate: undefined,
        certified: undefined,
      };
      this.#entries.set(name, added);
      changed.push(added);
    }
    this.#inTurn(() => this.#bring(changed));
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
    for (const { state } of this.#entries.values()) state.down(reason);
  }

  status(tunnel: string): IpsecTunnelStatus | undefined {
    return this.#entries.get(tunnel)?.state.status;
  }

  details(tunnel: string): IpsecDetails | undefined {
    const entry = this.#entries.get(tunnel);
    if (entry === undefined) return undefined;
    const { sas, traffic, peerCertificate: certificate } = entry;
    const { total, rekeyings } = traffic;
    return { sas, traffic: total, rekeyings, peerCertificate: certificate };
  }

  get #isConnected(): boolean {
    return this.#client.state === 'up' || this.#client.state === 'reconciling';
  }

  /** With every new connection to the daemon, which may have forgotten everything. */
  async #reconcile(): Promise<void> {
    this.#algorithms = await this.#client.algorithms();
    for (const { name } of await this.#client.connections()) {
      const tunnel = tunnelOfConnection(name);
      if (tunnel !== undefined && !this.#entries.has(tunnel)) await this.#unload(tunnel, undefined);
    }
    for (const entry of this.#entries.values()) {
      entry.copy.forget();
      entry.retryMs = FIRST_RETRY_MS;
      await this.#load(entry);
    }
    await this.#endFormer();
    await this.#refresh();
  }

  /** Ends what goes on in the daemon for tunnels that had the names of ours. */
  async #endFormer(): Promise<void> {
    const sas = await this.#client.ikeSas();
    for (const [name, { wanted }] of this.#entries) {
      if (hasFormer(wanted.tunnel, sas)) await terminate(this.#client, name);
    }
  }

  /** Tunnels that are new, or have changed; those that have gone meanwhile are passed over. */
  async #bring(entries: readonly Entry[]): Promise<void> {
    if (!this.#isConnected) return;
    for (const entry of entries) {
      if (this.#isWanted(entry)) await this.#load(entry);
    }
    await this.#refresh();
  }

  /** @returns whether the daemon has all of it. */
  async #load(entry: Entry): Promise<boolean> {
    const { tunnel, credentials } = entry.wanted;
    try {
      const onFirst = async (): Promise<void> => this.#options.onLoaded?.(tunnel.name);
      const { outcome, formerKey } = await entry.copy.load(tunnel, credentials(), this.#algorithms, onFirst);
      await this.#unloadKey(formerKey);
      // SAs go on as they were made: one that is to be otherwise, or was authenticated otherwise, is made anew.
      if (outcome === 'changed') await this.#makeAnew(entry);
      return true;
    } catch (error) {
      // The connection to the daemon was lost: all of it is done again with the next one.
      if (error instanceof ViciError && error.code !== 'refused') throw error;
      entry.reason = (error as Error).message;
      // What is up goes on without.
      if (!isUp(entry)) entry.state.down(entry.reason);
      return false;
    }
  }

  /** A private key that no tunnel uses any more is not left in the daemon. */
  async #unloadKey(id: string | undefined): Promise<void> {
    if (id === undefined || [...this.#entries.values()].some(({ copy }) => copy.keyId === id)) return;
    await unloadKey(this.#client, id);
  }

  /** Ends its SAs; the next attempt is not waited for. */
  async #makeAnew(entry: Entry): Promise<void> {
    entry.reason = 'it is configured otherwise now, and connects anew';
    entry.retryMs = 0;
    await terminate(this.#client, entry.wanted.tunnel.name);
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
    const sas = await this.#client.ikeSas();
    for (const [name, entry] of this.#entries) {
      const seen = sas.filter((sa) => sa.name === connectionName(name));
      entry.sas = isUp(entry, seen) || !isUp(entry) ? seen : await this.#settledSas(name);
      entry.traffic.look(entry.sas);
      this.#judge(entry);
    }
    await this.#readPeerCertificates();
  }

  /** One that was up and is not seen may be gone, or the daemon be at it: most of all while it is rekeyed. */
  async #settledSas(tunnel: string): Promise<readonly IkeSa[]> {
    try {
      return await this.#client.settledIkeSas(connectionName(tunnel), SETTLE_TIMEOUT_MS);
    } catch (error) {
      // Still at it: nothing is known until the next look.
      if (error instanceof ViciError && error.code === 'timeout') return this.#entries.get(tunnel)?.sas ?? [];
      throw error;
    }
  }

  /** Once for every SA: the daemon has what it was shown. */
  async #readPeerCertificates(): Promise<void> {
    const unread = [...this.#entries.values()].filter(
      (entry) => entry.copy.keyId !== undefined && isUp(entry) && entry.certified !== carrierId(entry),
    );
    if (unread.length === 0) return;
    const certificates = await this.#client.certificates();
    for (const entry of unread) {
      entry.certified = carrierId(entry);
      entry.peerCertificate = peerCertificate(certificates, entry.wanted.tunnel.remoteId);
    }
  }

  /** Whether it was not removed meanwhile, by whatever follows it under its name. */
  #isWanted(entry: Entry): boolean {
    return this.#entries.get(entry.wanted.tunnel.name) === entry;
  }

  #judge(entry: Entry): void {
    if (!this.#isWanted(entry)) return;
    const { state, sas } = entry;
    if (isUp(entry)) {
      entry.reason = undefined;
      entry.retryMs = FIRST_RETRY_MS;
      clearTimeout(entry.retry);
      entry.retry = undefined;
      state.up();
      return;
    }
    if (state.status.state === 'up') state.down(whyDown(entry));
    if (sas.some(isBeingMade)) state.connecting();
    else if (isPeersTurn(entry)) state.waits();
    else this.#tryAgain(entry);
  }

  #tryAgain(entry: Entry): void {
    const { state } = entry;
    if (entry.isAttempting || entry.retry !== undefined) return;
    entry.retry = setTimeout(
      () => void this.#attempt(entry),
      state.status.state === 'configured' ? 0 : entry.retryMs,
    );
  }

  async #attempt(entry: Entry): Promise<void> {
    entry.retry = undefined;
    entry.retryMs = entry.retryMs === 0 ? FIRST_RETRY_MS : Math.min(entry.retryMs * 2, MAX_RETRY_MS);
    if (this.#stopped || this.#client.state !== 'up') return;
    entry.isAttempting = true;
    entry.reason = undefined;
    try {
      if (!(await this.#loadInTurn(entry))) return;
      if (isPeersTurn(entry)) return entry.state.waitsAgain();
      entry.state.connecting();
      await this.#attempts.pass(() => this.#initiate(entry));
    } catch (error) {
      // What a connection that was lost says is of no use.
      if (!(error instanceof ViciError) || error.code !== 'refused') return;
      // Read off the log, the reason may come a moment after the answer.
      await new Promise((resolve) => setTimeout(resolve, 50));
      if (this.#isWanted(entry) && !isUp(entry)) entry.state.down(whyDown(entry));
    } finally {
      entry.isAttempting = false;
      this.#refreshSoon();
    }
  }

  /** @returns whether the daemon has all of it, and it is still wanted. */
  async #loadInTurn(entry: Entry): Promise<boolean> {
    let isLoaded = false;
    await this.#inTurn(async () => {
      if (this.#client.state === 'up' && this.#isWanted(entry)) isLoaded = await this.#load(entry);
    });
    return isLoaded && this.#isWanted(entry);
  }

  async #initiate(entry: Entry): Promise<void> {
    const { name } = entry.wanted.tunnel;
    // While it waited for its turn, the peer may have called.
    if (this.#stopped || !this.#isWanted(entry) || isUp(entry)) return;
    const message = { ike: connectionName(name), child: CHILD_NAME };
    await this.#client.block('initiate', message, { timeoutMs: INITIATE_TIMEOUT_MS });
  }

  #readLog(event: ViciSection): void {
    const text = field.text(event, 'msg') ?? '';
    const connection = field.text(event, 'ikesa-name');
    const entry = this.#entryOf(connection);
    const reason = failureReason(text);
    if (entry === undefined || reason === undefined) return;
    entry.reason = reason;
    this.#tell(entry);
    // Where the peer begins, nothing but its failures leads to another look at the secrets.
    if (!isPeersTurn(entry) || entry.reload !== undefined) return;
    entry.reload = setTimeout(() => {
      entry.reload = undefined;
      this.#inTurn(() => this.#bring([entry]));
    }, RELOAD_MS);
  }

  /**
   * Why it is down, as the log has it. Whoever may write to our IKE ports makes such lines, as many and as various as
   * they like: after the first one, the next is told when that was a while ago. Our own attempts tell theirs at their end.
   */
  #tell(entry: Entry): void {
    const now = performance.now();
    const { state } = entry.state.status;
    if (state === 'up' || (state === 'down' && now - entry.toldAtMs < TELL_MS)) return;
    entry.toldAtMs = now;
    entry.state.down(whyDown(entry));
  }

  /** What is of no connection (a peer that nobody knows) is of the only tunnel, unless the daemon has connections of others. */
  #entryOf(connection = NO_CONNECTION): Entry | undefined {
    if (connection !== NO_CONNECTION) return this.#entries.get(tunnelOfConnection(connection) ?? '');
    const isAnyones = this.#options.absence !== undefined || this.#entries.size !== 1;
    return isAnyones ? undefined : this.#entries.values().next().value;
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

function isUp({ wanted, sas }: Entry, seen = sas): boolean {
  return carrierOf(wanted.tunnel, seen) !== undefined;
}

function carrierId({ wanted, sas }: Entry): string | undefined {
  return carrierOf(wanted.tunnel, sas)?.uniqueId;
}

/** Whether nothing is left to do for us until the peer calls. */
function isPeersTurn({ wanted, copy }: Entry): boolean {
  return wanted.tunnel.start === 'respond' && copy.isLoaded;
}

/** What is in the way is known better than what comes of it. */
function whyDown({ wanted, reason }: Entry): string {
  return wanted.obstacle ?? reason ?? 'the peer does not answer';
}

function forgetTimers(entry: Entry): void {
  clearTimeout(entry.retry);
  clearTimeout(entry.reload);
}
