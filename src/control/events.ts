/**
 * What changes while the gateway runs, for whoever listens: the API's event stream, and parts of control among
 * themselves.
 *
 * Events are news, not state: who comes late asks for the status first. The last few are kept, so that a listener
 * whose connection was cut finds out what it missed.
 *
 * Neighbours: `gateway.ts` and others publish; `api/routes/events.ts` passes them on (`api/schemas/events.ts` has
 * the same shapes).
 */

import type { FailureAction, FailureCause } from '../plugin/contract.ts';

/** The closed list of events. Names and members are stable: programs read them. */
export type ControlEventBody =
  /** The data plane forwards by a new plan. */
  | { readonly type: 'plan_applied'; readonly generation: number }
  /** The running configuration was replaced. `revision`: its number in the history, if there is one. */
  | { readonly type: 'config_applied'; readonly revision: number | null; readonly summary: string }
  | { readonly type: 'data_plane_state'; readonly state: string; readonly pid: number | null }
  /** The data plane ended or had to be ended; it is started anew. */
  | { readonly type: 'data_plane_failure'; readonly reason: string; readonly restarts: number }
  | {
      readonly type: 'port_state';
      readonly port: string;
      readonly role: 'tunnel' | 'egress' | 'diversion';
      /** null: the port is new. */
      readonly former: string | null;
      /** null: the port is gone. */
      readonly state: string | null;
      /** Why it is in this state; null where there is nothing to explain. */
      readonly reason: string | null;
      /** Since when it is in this state, as ISO 8601; null: the port is gone. */
      readonly since: string | null;
    }
  /**
   * A plugin has failed by this cause, for the first time or after a minute without. `action`: what becomes of the packet at
   * hand; where it is `tripped`, of all that it would be asked about, until it is enabled or read anew.
   */
  | {
      readonly type: 'plugin_failure';
      readonly plugin: string;
      readonly cause: FailureCause;
      readonly action: FailureAction;
      readonly message: string;
      readonly tripped: boolean;
    }
  /** What the host lacks has changed; empty: it fits the configuration. */
  | { readonly type: 'problems'; readonly problems: readonly string[] };

export type ControlEvent = ControlEventBody & {
  /** Counts up from 1 with every event of this process. */
  readonly id: number;
  /** When, as ISO 8601 in UTC. */
  readonly time: string;
};

export type ControlEventListener = (event: ControlEvent) => void;

/** Kept for listeners that come back. */
const KEPT_EVENTS = 256;

export class ControlEvents {
  readonly #listeners = new Set<ControlEventListener>();
  readonly #kept: ControlEvent[] = [];
  #lastId = 0;

  /** Tells all listeners, now. What a listener throws does not reach the publisher. */
  publish(body: ControlEventBody): void {
    const event: ControlEvent = { id: ++this.#lastId, time: new Date().toISOString(), ...body };
    this.#kept.push(event);
    if (this.#kept.length > KEPT_EVENTS) this.#kept.shift();
    for (const listener of this.#listeners) {
      try {
        listener(event);
      } catch {
        // A listener's own trouble.
      }
    }
  }

  /** Calls `listener` for every event from now on, until the returned function is called. */
  subscribe(listener: ControlEventListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The kept events after the one with this id, oldest first. */
  since(id: number): readonly ControlEvent[] {
    return this.#kept.filter((event) => event.id > id);
  }

  /** Whether anybody listens: what costs something to find out need not be found out otherwise. */
  get watched(): boolean {
    return this.#listeners.size > 0;
  }
}
