/**
 * What is changed on the host now, in memory and on disk: whoever changes an interface writes it here first.
 *
 * Neighbours: `host-state.ts` (the file), `links.ts`, `made-links.ts`, `tun-devices.ts`.
 */
import { type HostState, writeHostState } from './host-state.ts';

export class HostRecord {
  readonly #path: string;
  #state: HostState;

  constructor(path: string, state: HostState) {
    this.#path = path;
    this.#state = state;
  }

  get state(): HostState {
    return this.#state;
  }

  /** Replaces parts of the state; on disk when this returns. */
  change(parts: Partial<HostState>): void {
    const state = { ...this.#state, ...parts };
    if (JSON.stringify(state) === JSON.stringify(this.#state)) return;
    writeHostState(this.#path, state);
    this.#state = state;
  }
}
