/** Explanations and the routing table; `pipeline/explain/explanation.ts` and `control/routes/` have the same shapes. */
import * as z from 'zod';

const stepSchema = z
  .object({
    stage: z
      .enum([
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
      ])
      .describe("A stage of the packet's way; those that were reached, in their order."),
    passes: z.boolean().describe('False: here it ends.'),
    text: z.string().describe('What was found there, a sentence for people.'),
  })
  .meta({ id: 'ExplanationStep' });

export const explanationSchema = z
  .object({
    verdict: z
      .enum(['forward', 'drop', 'reject', 'answer'])
      .describe(
        'What becomes of it. reject: dropped, and the sender is told. answer: the gateway itself answers. Of a route: forward or drop.',
      ),
    reason: z.string().nullable().describe('The drop reason; null: it is not dropped.'),
    flow: z.int().nullable().describe('The flow that it belongs to; null: none yet.'),
    from: z.string().nullable().describe('Site or egress in whose address space the sender is.'),
    to: z
      .string()
      .nullable()
      .describe('Site or egress in whose address space the receiver is; null: not found.'),
    ingress: z.string().nullable().describe('Tunnel or egress that it comes in by.'),
    egress: z.string().nullable().describe('Tunnel or egress that it leaves by; null: by none.'),
    pin: z
      .string()
      .nullable()
      .describe('Tunnel that replies go to, without a look at routes; null: there is no flow.'),
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
          priority: z.int().nullable().describe('Lower is preferred; null: an egress.'),
          isUp: z.boolean().describe('Whether packets may leave by it.'),
          isAvoided: z.boolean().describe('Its health checks fail: the others are preferred.'),
          isCandidate: z.boolean().describe('Among those that are chosen from.'),
        }),
      )
      .describe('Of a route: the tunnels or the egress that lead there.'),
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
