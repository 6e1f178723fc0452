/**
 * What the daemon has of one tunnel: its connection and what authenticates it. Only what differs is sent.
 *
 * Neighbours: `connection.ts` (the messages), `reconciler.ts` (when).
 */
import type { ViciClient } from '../../vici/client.ts';
import { ViciError } from '../../vici/errors.ts';
import * as field from '../../vici/fields.ts';
import {
  connectionMessage,
  connectionName,
  type IpsecCredentials,
  type IpsecTunnel,
  secretRequest,
} from './connection.ts';
import { missingAlgorithms } from './proposals.ts';

/** `loaded`: the daemon did not have it; `changed`: it had it otherwise. */
export type LoadOutcome = 'loaded' | 'changed' | 'same';

const TERMINATE_TIMEOUT_MS = 2_000;

export class DaemonCopy {
  readonly #client: ViciClient;
  /** As JSON; undefined: the daemon has none. */
  #connection: string | undefined;
  #secret: string | undefined;
  #keyId: string | undefined;

  constructor(client: ViciClient) {
    this.#client = client;
  }

  get isLoaded(): boolean {
    return this.#connection !== undefined;
  }

  /** Of the private key that the daemon has for it; undefined: none, or there is a pre-shared key. */
  get keyId(): string | undefined {
    return this.#keyId;
  }

  /** The daemon has nothing of it: it is another one. */
  forget(): void {
    this.#connection = undefined;
    this.#secret = undefined;
    this.#keyId = undefined;
  }

  /**
   * Gives the daemon what it lacks.
   *
   * @param onFirst what is to be done before this counts as loaded, where it was not
   * @returns what that was, and the key that this tunnel has no use for any more
   * @throws ViciError, Error with what is wrong
   */
  async load(
    tunnel: IpsecTunnel,
    credentials: IpsecCredentials,
    algorithms: ReadonlyMap<string, readonly string[]>,
    onFirst: () => Promise<void>,
  ): Promise<{ readonly outcome: LoadOutcome; readonly formerKey: string | undefined }> {
    const missing = [...tunnel.ikeProposals, ...tunnel.espProposals]
      .map((proposal) => missingAlgorithms(proposal, algorithms))
      .find((problem) => problem !== undefined);
    if (missing !== undefined) throw new Error(missing);
    const isFirst = !this.isLoaded;
    const { isNew: secretIsNew, formerKey } = await this.#loadSecret(secretRequest(tunnel, credentials));
    const message = connectionMessage(tunnel, credentials);
    const text = JSON.stringify(message, bytesAsText);
    const isNew = this.#connection !== text;
    if (isNew) await this.#client.request('load-conn', message);
    if (isFirst) await onFirst();
    this.#connection = text;
    return { outcome: isFirst ? 'loaded' : isNew || secretIsNew ? 'changed' : 'same', formerKey };
  }

  async #loadSecret([command, secret]: ReturnType<typeof secretRequest>) {
    const text = JSON.stringify([command, secret], bytesAsText);
    if (this.#secret === text) return { isNew: false, formerKey: undefined };
    const answer = await this.#client.request(command, secret);
    const former = this.#keyId;
    this.#secret = text;
    this.#keyId = field.text(answer, 'id');
    return { isNew: true, formerKey: former === this.#keyId ? undefined : former };
  }
}

/** Ends the SAs of a tunnel, without waiting long for the peer's answer. */
export async function terminate(client: ViciClient, tunnel: string): Promise<void> {
  const message = { ike: connectionName(tunnel), force: true };
  await client.block('terminate', message, { timeoutMs: TERMINATE_TIMEOUT_MS }).catch(passOver);
}

/** Takes a tunnel away from the daemon, with its SAs. */
export async function unload(client: ViciClient, tunnel: string): Promise<void> {
  const name = connectionName(tunnel);
  await client.request('unload-conn', { name }).catch(passOver);
  await client.request('unload-shared', { id: name }).catch(passOver);
  await terminate(client, tunnel);
}

export async function unloadKey(client: ViciClient, id: string): Promise<void> {
  await client.request('unload-key', { id }).catch(passOver);
}

function bytesAsText(_: string, value: unknown): unknown {
  return value instanceof Uint8Array ? Buffer.from(value).toString('base64') : value;
}

/** What is not there any more need not be taken away. */
function passOver(error: unknown): void {
  if (!(error instanceof ViciError) || error.code === 'refused' || error.code === 'timeout') return;
  throw error;
}
