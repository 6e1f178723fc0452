/** The overlap audit; `control/audit/` has the same shapes. */
import * as z from 'zod';

const overlapSchema = z
  .object({
    prefix: z.string(),
    sites: z.array(
      z.object({
        site: z.string(),
        declares: z.string(),
        relation: z.enum(['equal', 'contains']),
        routedReplies: z.array(z.string()),
      }),
    ),
    verdict: z.enum(['ambiguous', 'routed', 'mixed']),
    towards: z.array(
      z.object({
        to: z.string().nullable(),
        reason: z.string().nullable(),
        route: z.string().nullable(),
        parts: z.array(z.string()),
      }),
    ),
    text: z.string(),
  })
  .meta({ id: 'Overlap', description: 'Addresses that several sites declare.' });

export const auditSchema = z
  .object({
    sites: z.int(),
    prefixes: z.int(),
    overlaps: z.array(overlapSchema),
    relations: z.array(
      z.object({
        relation: z.enum(['equal', 'contains', 'partial']),
        sites: z.array(z.string()),
        others: z.array(z.string()),
        shared: z.array(z.string()),
        text: z.string(),
      }),
    ),
    omittedRelations: z.int(),
    redundant: z.array(
      z.object({ site: z.string(), prefix: z.string(), within: z.string(), text: z.string() }),
    ),
    overridden: z.array(
      z.object({
        site: z.string(),
        prefix: z.string(),
        route: z.string(),
        via: z.string(),
        text: z.string(),
      }),
    ),
    undeclared: z
      .object({
        flows: z.int(),
        addresses: z.array(
          z.object({
            site: z.string(),
            tunnel: z.string(),
            address: z.string(),
            flows: z.int(),
            packets: z.number(),
            declaredBy: z.array(z.string()),
            text: z.string(),
          }),
        ),
        omittedFlows: z.int(),
      })
      .nullable()
      .describe(
        'Addresses that begin flows and that their site does not declare; null: there is no traffic to look at.',
      ),
  })
  .meta({ id: 'Audit' });

export type AuditBody = z.infer<typeof auditSchema>;
