/** Parameters in paths and queries: they come as text, and are checked as text. */
import * as z from 'zod';

/** Digits only, between `min` and `max`, as a number. */
export function wholeNumber(
  min: number,
  max: number,
): z.ZodPipe<z.ZodString, z.ZodTransform<number, string>> {
  return z
    .string()
    .regex(/^\d{1,16}$/, 'is not a whole number')
    .meta({ examples: [String(min)] })
    .transform((text, context) => {
      const value = Number(text);
      if (value >= min && value <= max) return value;
      context.addIssue({ code: 'custom', message: `is not between ${min} and ${max}` });
      return z.NEVER;
    });
}

/** `true` or `false`; absent is false. */
export const flag = z.stringbool({ truthy: ['true'], falsy: ['false'], case: 'sensitive' }).default(false);

/** The name of a site, tunnel, egress or plugin. */
export const nameParameter = z
  .string()
  .max(63)
  .regex(/^[A-Za-z0-9][A-Za-z0-9_-]*$/, 'is not a name: letters, digits, - and _, a letter or digit first');

/** What packets come in and leave by: a tunnel, an egress, or a diversion as `PLUGIN/DIVERSION`. */
export const portParameter = z
  .string()
  .max(63)
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9_-]*(?:\/[a-z][a-z0-9-]*)?$/,
    'is not a name: letters, digits, - and _, a letter or digit first; a diversion is PLUGIN/DIVERSION',
  );
