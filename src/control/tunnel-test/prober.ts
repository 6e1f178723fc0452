/**
 * Echo requests of the gateway's own through its tunnels, and their replies: the data plane sends them and says by what
 * port each reply came (`pipeline/tunnel-probes.ts`).
 *
 * Neighbours: `tunnel-tests.ts` and `health/` ask for probes; `dataplane/probe-desk.ts` is the other end.
 */
import { randomInt } from 'node:crypto';
import type { ProbeAnsweredMessage } from '../../dataplane/messages.ts';
import type { Supervisor } from '../runtime/supervisor.ts';

/** `error`: why nothing was sent, empty if it was. `answer`: undefined when none came in time. */
export interface SentProbe {
  readonly error: string;
  readonly answer: Promise<ProbeAnsweredMessage | undefined>;
}

export class Prober {
  readonly #supervisor: Supervisor;
  readonly #waiting = new Map<number, (answer: ProbeAnsweredMessage | undefined) => void>();
  /** The data plane may still answer what a former control process has asked: these are no numbers of its. */
  #lastId = randomInt(2 ** 47);

  constructor(supervisor: Supervisor) {
    this.#supervisor = supervisor;
    supervisor.on('probe', (answer) => this.#waiting.get(answer.id)?.(answer));
  }

  /**
   * Sends one probe by a tunnel.
   *
   * @param signal ends the waiting
   * @throws DataPlaneGoneError
   */
  async send(port: string, target: string, timeoutMs: number, signal?: AbortSignal): Promise<SentProbe> {
    const id = ++this.#lastId;
    const answer = new Promise<ProbeAnsweredMessage | undefined>((resolve) => {
      const giveUp = (): void => settle(undefined);
      // If it was us who stood still, the answer is here and yet to be read: that comes before the check.
      const timer = setTimeout(() => setImmediate(giveUp), timeoutMs);
      signal?.addEventListener('abort', giveUp);
      const settle = (answered: ProbeAnsweredMessage | undefined): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', giveUp);
        this.#waiting.delete(id);
        resolve(answered);
      };
      this.#waiting.set(id, settle);
    });
    const { error } = await this.#supervisor
      .ask({ type: 'probe', id, port, target }, 'probe-sent')
      .catch((failure: unknown) => {
        this.#waiting.get(id)?.(undefined);
        throw failure;
      });
    if (error !== '') this.#waiting.get(id)?.(undefined);
    return { error, answer };
  }
}
