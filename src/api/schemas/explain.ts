/** Explanations and the routing table; `pipeline/explain/explanation.ts` and `control/routes/` have the same shapes. */
import * as z from 'zod';

const stepSchema = z
  .object({
    stage: z.enum([
      'packet',
      'space',
      'flow',
      'own_address',
      'sender',
      'route',
      'egress',
      'budget',
      'plugin',
      'return',
      'translation',
      'mtu',
      'neighbor',
    ]),
    passes: z.boolean().describe('False: here it ends.'),
    text: z.string(),
  })
  .meta({ id: 'ExplanationStep' });

export const explanationSchema = z
  .object({
    verdict: z.enum(['forward', 'drop', 'reject', 'answer']),
    reason: z.string().nullable().describe('The drop reason.'),
    flow: z.int().nullable().describe('The flow that it belongs to; null: none yet.'),
    from: z.string().nullable(),
    to: z.string().nullable(),
    ingress: z.string().nullable(),
    egress: z.string().nullable(),
    pin: z.string().nullable().describe('Where replies go.'),
    translated: z
      .object({
        source: z.string(),
        sourcePort: z.int(),
        destination: z.string(),
        destinationPort: z.int(),
      })
      .nullable()
      .describe('As the other side sees it; null: nothing is translated, or it does not leave.'),
    ports: z
      .array(
        z.object({
          name: z.string(),
          priority: z.int().nullable(),
          isUp: z.boolean(),
          isAvoided: z.boolean().describe('Its health checks fail: the others are preferred.'),
          isCandidate: z.boolean(),
        }),
      )
      .describe('The tunnels or the egress that it could leave by.'),
    steps: z.array(stepSchema),
  })
  .meta({ id: 'Explanation' });

export const routeListSchema = z
  .object({
    routes: z.array(
      z.object({
        prefix: z.string(),
        via: z.string(),
        kind: z.enum(['declared', 'route']),
        priority: z.int().nullable(),
        ports: z.array(z.string()),
        state: z.enum(['active', 'ambiguous', 'unused']),
      }),
    ),
  })
  .meta({ id: 'RouteList' });

export type ExplanationBody = z.infer<typeof explanationSchema>;
export type RouteListBody = z.infer<typeof routeListSchema>;
