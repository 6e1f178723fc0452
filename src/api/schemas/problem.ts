/**
 * Errors as the API gives them: problem details (RFC 9457), `application/problem+json`. The type is always
 * `about:blank`, so `title` is the phrase of the status; `code` tells errors apart.
 */
import * as z from 'zod';

/** One of several findings. All members but the text are there where they make sense. */
export const findingSchema = z
  .object({
    /** What is wrong, and after a semicolon what would be right. */
    text: z.string(),
    /** Where: a configuration's path (`sites.paris.prefixes[0]`), or a request's (`query.limit`). */
    path: z.string().optional(),
    file: z.string().optional(),
    line: z.int().optional(),
    column: z.int().optional(),
  })
  .meta({ id: 'Finding' });

export const problemSchema = z
  .object({
    type: z.literal('about:blank'),
    title: z.string(),
    /** The HTTP status. */
    status: z.int(),
    /** A sentence for people. */
    detail: z.string(),
    /** Stable, for programs; docs/api.md lists them. */
    code: z.string(),
    problems: z.array(findingSchema).optional(),
  })
  .meta({ id: 'Problem' });

export type FindingBody = z.infer<typeof findingSchema>;
export type ProblemBody = z.infer<typeof problemSchema>;
