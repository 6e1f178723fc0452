/**
 * The life of a tunnel, of whatever type, and of an egress, as users see it: the only words for it.
 *
 * ```
 *                 the other end is asked             it answers            checks fail now and then
 *   configured ---------------------> connecting ------------------> up <----------------------> degraded
 *       |                                  |                          ^                             |
 *       | something is lacking             | nobody answers           | put right, answered         |
 *       v                                  v                          v                             v
 *      down <----------------------------------------------------------------------------------- down
 *
 *   disabled: the configuration says so; from and to every other one
 * ```
 *
 * What is down stays it while it is tried again: why it is down is worth more than that it is being tried.
 *
 * Neighbours: `control/port-states/` (judges and tells), `ipsec/tunnel-state.ts` (what IKE makes of it).
 */

/** All of them, in the order of a life. */
export const PORT_STATES = ['configured', 'connecting', 'up', 'degraded', 'down', 'disabled'] as const;

export type PortState = (typeof PORT_STATES)[number];

export interface PortCondition {
  readonly state: PortState;
  /** Why, in words; null where there is nothing to explain. */
  readonly reason: string | null;
  /** When it came into this state, milliseconds since 1970. */
  readonly sinceMs: number;
}
