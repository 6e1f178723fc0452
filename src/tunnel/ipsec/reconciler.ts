/**
 * Brings one IKE daemon to what is configured, and keeps it there; says how each tunnel is.
 *
 * ```
 *  connected (again) --> what is ours and not wanted: unloaded --> what is wanted: loaded --> list-sas --> states
 *  an event, or every few seconds ------------------------------------------------------------> list-sas --> states
 *  not up, ours to begin ---- initiate, then again after 1, 2, 4 ... 15 s, for ever
 * ```
 *
 * SAs are known by the names of connection and child: unique ids change with every rekeying. Connections that do not
 * begin with our prefix are never touched: the daemon may be another's.
 *
 * Neighbours: `connection.ts` (the messages), `tunnel-state.ts`, `failure-reasons.ts`.
 */
import { ViciClient } from '../../vici/client.ts';
import { ViciError } from '../../vici/errors.ts';
import * as field from '../../vici/fields.ts';
import type { ViciSection } from '../../vici/message.ts';
import type { IkeSa } from '../../vici/views.ts';
import {
  CHILD_NAME,
  connectionMessage,
  connectionName,
  type IpsecCredentials,
  type IpsecTunnel,
  secretRequest,
  tunnelOfConnection,
} from './connection.ts';
import { failureReason } from './failure-reasons.ts';
import type { IpsecLog } from './host-tools.ts';
import { missingAlgorithms } from './proposals.ts';
import { type IpsecTunnelStatus, TunnelState } from './tunnel-state.ts';

const FIRST_RETRY_MS = 1_000;
const MAX_RETRY_MS = 15_000;
const REFRESH_MS = 5_000;
/** More than the daemon's own retransmissions take. */
const INITIATE_TIMEOUT_MS = 8_000;
const TERMINATE_TIMEOUT_MS = 2_000;
const IKE_UP = ['ESTABLISHED', 'REKEYING', 'REKEYED'];
const CHILD_UP = ['INSTALLED', 'REKEYING', 'REKEYED', 'UPDATING'];
const EVENTS = ['ike-updown', 'child-updown', 'ike-rekey', 'child-rekey', 'ike-update'];

/** A tunnel with the way to its secrets, which are read anew for every attempt: they may have been put right. */
export interface WantedTunnel {
  readonly tunnel: IpsecTunnel;
  /** Throws with a sentence that names the file. */
  readonly credentials: () => IpsecCredentials;
}

export interface ReconcilerOptions {
  readonly socketPath: string;
  readonly log: IpsecLog;
  readonly onState: (tunnel: string, status: IpsecTunnelStatus, former: IpsecTunnelStatus) => void;
}

interface Entry {
  wanted: WantedTunnel;
  readonly state: TunnelState;
  /** What the daemon has of it, as JSON; undefined if nothing. */
  loadedConnection: string | undefined;
  loadedSecret: string | undefined;
  /** Why the last attempt failed, from the daemon's log. */
  reason: string | undefined;
  retry: NodeJS.Timeout | undefined;
  retryMs: number;
  isAttempting: boolean;
  /** Whether it waits for its turn to be loaded anew because of what the log said. */
  isReloadDue: boolean;
  sas: readonly IkeSa[];
}

export class Reconciler {
  readonly #client: ViciClient;
  readonly #options: ReconcilerOptions;
  readonly #entries = new Map<string, Entry>();
  #algorithms: ReadonlyMap<string, readonly string[]> = new Map();
  #refreshTimer: NodeJS.Timeout | undefined;
  /** One thing after the other. */
  #work: Promise<void> = Promise.resolve();
  #refreshIsDue = false;
  #stopped = false;

  constructor(options: ReconcilerOptions) {
    this.#options = options;
    this.#client = new ViciClient({ socketPath: options.socketPath, reconcile: () => this.#reconcile() });
    for (const event of EVENTS) this.#client.handle(event, () => this.#refreshSoon());
    this.#client.handle('log', (event) => this.#readLog(event));
  }

  start(): void {
    this.#client.on('state', (state) => {
      if (state !== 'down') return;
      for (const entry of this.#entries.values()) {
        entry.loadedConnection = undefined;
        entry.loadedSecret = undefined;
        clearTimeout(entry.retry);
        entry.retry = undefined;
        if (entry.state.status.state === 'up') entry.state.down('the IKE daemon is gone');
      }
    });
    this.#client.start();
    this.#refreshTimer = setInterval(() => this.#refreshSoon(), REFRESH_MS);
  }

  stop(): void {
    this.#stopped = true;
    clearInterval(this.#refreshTimer);
    for (const entry of this.#entries.values()) clearTimeout(entry.retry);
    this.#client.stop();
  }

  /** Says what is wanted from now on; what is as before is not disturbed. */
  want(wanted: readonly WantedTunnel[]): void {
    const names = new Set(wanted.map(({ tunnel }) => tunnel.name));
    for (const [name, entry] of this.#entries) {
      if (names.has(name)) continue;
      clearTimeout(entry.retry);
      this.#entries.delete(name);
      this.#inTurn(() => this.#unload(name));
    }
    for (const one of wanted) {
      const { name } = one.tunnel;
      const entry = this.#entries.get(name);
      if (entry !== undefined) {
        entry.wanted = one;
        this.#inTurn(() => this.#bring(entry));
        continue;
      }
      const added: Entry = {
        wanted: one,
        state: new TunnelState((status, former) => this.#options.onState(name, status, former)),
        loadedConnection: undefined,
        loadedSecret: undefined,
        reason: undefined,
        retry: undefined,
        retryMs: FIRST_RETRY_MS,
        isAttempting: false,
        isReloadDue: false,
        sas: [],
      };
      this.#entries.set(name, added);
      this.#inTurn(() => this.#bring(added));
    }
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

  /** SAs of a tunnel, as they were last seen. */
  sas(tunnel: string): readonly IkeSa[] {
    return this.#entries.get(tunnel)?.sas ?? [];
  }

  get #isConnected(): boolean {
    return this.#client.state === 'up' || this.#client.state === 'reconciling';
  }

  /** With every new connection to the daemon, which may have forgotten everything. */
  async #reconcile(): Promise<void> {
    this.#algorithms = await this.#client.algorithms();
    for (const { name } of await this.#client.connections()) {
      const tunnel = tunnelOfConnection(name);
      if (tunnel !== undefined && !this.#entries.has(tunnel)) await this.#unload(tunnel);
    }
    for (const entry of this.#entries.values()) {
      entry.loadedConnection = undefined;
      entry.loadedSecret = undefined;
      entry.retryMs = FIRST_RETRY_MS;
      await this.#load(entry);
    }
    await this.#refresh();
  }

  /** A tunnel that is new, or has changed. */
  async #bring(entry: Entry): Promise<void> {
    if (!this.#isConnected) return;
    await this.#load(entry);
    await this.#refresh();
  }

  /** @returns whether the daemon has all of it. */
  async #load(entry: Entry): Promise<boolean> {
    const { tunnel, credentials } = entry.wanted;
    try {
      const missing = [...tunnel.ikeProposals, ...tunnel.espProposals]
        .map((proposal) => missingAlgorithms(proposal, this.#algorithms))
        .find((problem) => problem !== undefined);
      if (missing !== undefined) throw new Error(missing);
      const secrets = credentials();
      const [command, secret] = secretRequest(tunnel, secrets);
      const secretText = JSON.stringify([command, secret], bytesAsText);
      if (entry.loadedSecret !== secretText) {
        await this.#client.request(command, secret);
        entry.loadedSecret = secretText;
      }
      const connection = connectionMessage(tunnel, secrets);
      const connectionText = JSON.stringify(connection, bytesAsText);
      if (entry.loadedConnection !== connectionText) {
        await this.#client.request('load-conn', connection);
        // SAs go on as they were made: one that is to be otherwise is made anew.
        if (entry.loadedConnection !== undefined) await this.#terminate(tunnel.name);
        entry.loadedConnection = connectionText;
      }
      return true;
    } catch (error) {
      // The connection to the daemon was lost: all of it is done again with the next one.
      if (error instanceof ViciError && error.code !== 'refused') throw error;
      entry.reason = (error as Error).message;
      entry.state.down(entry.reason);
      return false;
    }
  }

  async #unload(tunnel: string): Promise<void> {
    if (!this.#isConnected) return;
    const name = connectionName(tunnel);
    await this.#client.request('unload-conn', { name }).catch(passOver);
    await this.#client.request('unload-shared', { id: name }).catch(passOver);
    await this.#terminate(tunnel);
  }

  async #terminate(tunnel: string): Promise<void> {
    const message = { ike: connectionName(tunnel), force: true };
    await this.#client.block('terminate', message, { timeoutMs: TERMINATE_TIMEOUT_MS }).catch(passOver);
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
      entry.sas = sas.filter((sa) => sa.name === connectionName(name));
      this.#judge(entry);
    }
  }

  #judge(entry: Entry): void {
    const { state, sas } = entry;
    if (sas.some(isUp)) {
      entry.reason = undefined;
      entry.retryMs = FIRST_RETRY_MS;
      clearTimeout(entry.retry);
      entry.retry = undefined;
      state.up();
      return;
    }
    if (state.status.state === 'up') state.down(entry.reason ?? 'the peer does not answer');
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
    entry.retryMs = Math.min(entry.retryMs * 2, MAX_RETRY_MS);
    if (this.#stopped || this.#client.state !== 'up') return;
    entry.isAttempting = true;
    entry.reason = undefined;
    try {
      if (!(await this.#load(entry))) return;
      if (isPeersTurn(entry)) return entry.state.waitsAgain();
      entry.state.connecting();
      const message = { ike: connectionName(entry.wanted.tunnel.name), child: CHILD_NAME };
      await this.#client.block('initiate', message, { timeoutMs: INITIATE_TIMEOUT_MS });
    } catch (error) {
      // What a connection that was lost says is of no use.
      if (!(error instanceof ViciError) || error.code !== 'refused') return;
      // Read off the log, the reason may come a moment after the answer.
      await new Promise((resolve) => setTimeout(resolve, 50));
      if (this.#entries.get(entry.wanted.tunnel.name) === entry && !entry.sas.some(isUp)) {
        entry.state.down(entry.reason ?? 'the peer does not answer');
      }
    } finally {
      entry.isAttempting = false;
      this.#refreshSoon();
    }
  }

  #readLog(event: ViciSection): void {
    const text = field.text(event, 'msg') ?? '';
    const connection = field.text(event, 'ikesa-name');
    const entry = this.#entryOf(connection);
    const reason = failureReason(text);
    if (entry === undefined || reason === undefined) return;
    entry.reason = reason;
    if (entry.state.status.state !== 'up') entry.state.down(reason);
    // Where the peer begins, nothing but its failures leads to another look at the secrets.
    // Whoever may write to our IKE ports makes such lines, as many as they like: one look at a time is enough.
    if (!isPeersTurn(entry) || entry.isReloadDue) return;
    entry.isReloadDue = true;
    this.#inTurn(() => {
      entry.isReloadDue = false;
      return this.#bring(entry);
    });
  }

  /** A line of no SA (a peer that nobody knows) is of the only tunnel, where there is one. */
  #entryOf(connection: string | undefined): Entry | undefined {
    const tunnel = connection === undefined ? undefined : tunnelOfConnection(connection);
    if (tunnel !== undefined) return this.#entries.get(tunnel);
    return this.#entries.size === 1 ? this.#entries.values().next().value : undefined;
  }

  #inTurn(job: () => Promise<void>): void {
    this.#work = this.#work.then(async () => {
      if (this.#stopped) return;
      try {
        await job();
      } catch (error) {
        this.#options.log('debug', {}, `the IKE daemon: ${(error as Error).message}`);
      }
    });
  }
}

function isUp(sa: IkeSa): boolean {
  return (
    IKE_UP.includes(sa.state) &&
    sa.children.some(({ name, state }) => name === CHILD_NAME && CHILD_UP.includes(state))
  );
}

/** Whether nothing is left to do for us until the peer calls. */
function isPeersTurn({ wanted, loadedConnection }: Entry): boolean {
  return wanted.tunnel.start === 'respond' && loadedConnection !== undefined;
}

function isBeingMade(sa: IkeSa): boolean {
  return sa.state === 'CREATED' || sa.state === 'CONNECTING';
}

function bytesAsText(_: string, value: unknown): unknown {
  return value instanceof Uint8Array ? Buffer.from(value).toString('base64') : value;
}

/** What is not there any more need not be taken away. */
function passOver(error: unknown): void {
  if (!(error instanceof ViciError) || error.code === 'refused' || error.code === 'timeout') return;
  throw error;
}
