/** The configuration: what runs, what ran, and changes of it. */
import * as z from 'zod';

/** Longer than a change may wait for its confirmation. */
export const MAX_CONFIRM_MS = 24 * 3_600_000;
export const MIN_CONFIRM_MS = 1000;
const MAX_TEXT_CHARACTERS = 4 * 1024 * 1024;

export const revisionSchema = z
  .object({
    number: z.int(),
    /** ISO 8601, UTC. */
    time: z.string(),
    /** `found`: the file was changed by other means. `reverted`: a change was not confirmed in time. */
    cause: z.enum(['found', 'applied', 'rolled_back', 'reverted']),
    /** Who, as they said. */
    by: z.string(),
    comment: z.string(),
    /** One line for each changed object. */
    summary: z.array(z.string()),
  })
  .meta({ id: 'Revision' });

export const pendingSchema = z
  .object({
    revision: z.int(),
    /** The revision to go back to. */
    previous: z.int(),
    /** ISO 8601, UTC. */
    deadline: z.string(),
    leftMs: z.number(),
  })
  .meta({ id: 'PendingConfirmation' });

export const configSchema = z.object({
  path: z.string(),
  /** YAML, comments and all. */
  text: z.string(),
  revision: revisionSchema.nullable(),
  /** Whether the file has this text. */
  file: z.enum(['same', 'differs', 'unreadable']),
  pending: pendingSchema.nullable(),
});

const changeSchema = z.object({
  object: z.enum(['site', 'tunnel', 'egress', 'route', 'plugin', 'option']),
  name: z.string(),
  change: z.enum(['added', 'removed', 'changed']),
  fields: z.array(
    z.object({
      /** Key below the object, with dots; empty for an option. */
      field: z.string(),
      /** null: there is none. */
      before: z.unknown(),
      after: z.unknown(),
      beforeIsDefault: z.boolean(),
      afterIsDefault: z.boolean(),
    }),
  ),
});

export const differenceSchema = z
  .object({
    changes: z.array(changeSchema),
    /** The same for people, one line each. */
    lines: z.array(z.string()),
    /** What it does to flows that live; null where that cannot be said. */
    effect: z
      .object({
        flows: z.array(
          z.object({
            port: z.string(),
            /** `stop`: no packet of them passes until the tunnel is back. */
            flows: z.enum(['end', 'some_end', 'stop']),
            why: z.string(),
          }),
        ),
        /** Nothing is forwarded while another data plane takes the flows over. */
        restartsDataPlane: z.boolean(),
      })
      .nullable(),
    /** Why applying it would be refused. */
    refusal: z.string().nullable(),
  })
  .meta({ id: 'ConfigDifference' });

export const appliedSchema = z
  .object({
    applied: z
      .boolean()
      .describe('False after a dry run, when the rest says what would be, and for a text that runs already.'),
    revision: revisionSchema.nullable().describe('The revision that was made; null: none was.'),
    difference: differenceSchema,
    pending: pendingSchema.nullable().describe('What waits for its confirmation now.'),
    notices: z.array(z.string()),
    /** Where a text is kept that was in the file and did not run. */
    unapplied: z.string().nullable(),
    reevaluated: z
      .object({ flows: z.number(), ended: z.number() })
      .nullable()
      .describe('What judging all live flows anew has led to; null: they keep the verdicts that they have.'),
  })
  .meta({ id: 'AppliedConfig' });

export const historySchema = z.object({
  /** Newest first. */
  revisions: z.array(revisionSchema),
  pending: pendingSchema.nullable(),
});

export const revisionTextSchema = z.object({ ...revisionSchema.shape, text: z.string() });

const textMember = z.string().max(MAX_TEXT_CHARACTERS);
const fileMember = z.string().max(4096).optional().describe('What messages call the text.');
const numberMember = z.int().min(1).max(Number.MAX_SAFE_INTEGER);

/** Members of every request that changes the configuration. */
export const changeShape = {
  by: z.string().max(200).default('').describe('Who asks, for the history.'),
  comment: z.string().max(1000).default(''),
  confirmMs: z
    .int()
    .min(MIN_CONFIRM_MS)
    .max(MAX_CONFIRM_MS)
    .optional()
    .describe('Go back after so many milliseconds unless it is confirmed.'),
  reevaluate: z
    .boolean()
    .default(false)
    .describe('Judge all live flows anew afterwards; those that are refused now end.'),
};

export const applyBodySchema = z.strictObject({
  text: textMember,
  file: fileMember,
  ...changeShape,
});

export const rollbackBodySchema = z.strictObject({
  revision: numberMember,
  ...changeShape,
});

export const diffBodySchema = z
  .strictObject({
    from: numberMember.optional().describe('Default: what runs.'),
    to: numberMember.optional(),
    text: textMember.optional(),
    file: fileMember,
  })
  .refine(({ to, text }) => (to === undefined) !== (text === undefined), 'write either to or text');

export type RevisionBody = z.infer<typeof revisionSchema>;
export type PendingBody = z.infer<typeof pendingSchema>;
export type ConfigBody = z.infer<typeof configSchema>;
export type DifferenceBody = z.infer<typeof differenceSchema>;
export type AppliedBody = z.infer<typeof appliedSchema>;
export type HistoryBody = z.infer<typeof historySchema>;
export type RevisionTextBody = z.infer<typeof revisionTextSchema>;
export type ApplyRequest = z.input<typeof applyBodySchema>;
export type RollbackRequest = z.input<typeof rollbackBodySchema>;
export type DiffRequest = z.input<typeof diffBodySchema>;
