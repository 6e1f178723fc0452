/** Events as `/v1/events` gives them; `control/events.ts` has the same shapes, and says what they mean. */
import * as z from 'zod';
import { FAILURE_ACTIONS, FAILURE_CAUSES } from '../../plugin/contract.ts';

const common = {
  id: z.int(),
  /** ISO 8601, UTC. */
  time: z.string(),
};

export const eventSchema = z
  .discriminatedUnion('type', [
    z.object({ ...common, type: z.literal('plan_applied'), generation: z.int() }),
    z.object({
      ...common,
      type: z.literal('config_applied'),
      revision: z.int().nullable(),
      summary: z.string(),
    }),
    z.object({ ...common, type: z.literal('data_plane_state'), state: z.string(), pid: z.int().nullable() }),
    z.object({ ...common, type: z.literal('data_plane_failure'), reason: z.string(), restarts: z.int() }),
    z.object({
      ...common,
      type: z.literal('port_state'),
      port: z.string(),
      role: z.enum(['tunnel', 'egress', 'diversion']),
      former: z.string().nullable(),
      state: z.string().nullable(),
      reason: z.string().nullable(),
      since: z.string().nullable(),
    }),
    z.object({
      ...common,
      type: z.literal('plugin_failure'),
      plugin: z.string(),
      cause: z.enum(FAILURE_CAUSES),
      action: z.enum(FAILURE_ACTIONS),
      message: z.string(),
      tripped: z.boolean(),
    }),
    z.object({ ...common, type: z.literal('problems'), problems: z.array(z.string()) }),
  ])
  .meta({ id: 'Event' });

export type EventBody = z.infer<typeof eventSchema>;
