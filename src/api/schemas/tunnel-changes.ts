/** Changes of single tunnels: edits of the configuration, applied at once. */
import * as z from 'zod';
import { changeShape, MAX_CONFIRM_MS, MIN_CONFIRM_MS } from './config.ts';
import { flag, nameParameter, wholeNumber } from './parameters.ts';

/** Keys as in the file, `snake_case`; the configuration's own schema judges them. */
const tunnelValues = z.record(z.string().max(64), z.json());

export const addTunnelSchema = z
  .strictObject({
    site: nameParameter,
    prefixes: z
      .array(z.string().max(64))
      .max(1024)
      .default([])
      .describe('Of a site that is not there yet, and is made.'),
    tunnel: z.looseObject({ name: nameParameter }).describe('As in the configuration file.'),
    ...changeShape,
  })
  .meta({ id: 'AddTunnelRequest' });

export const changeTunnelSchema = z
  .strictObject({
    values: tunnelValues.describe('Keys to set; null takes one away, so that its default holds.'),
    ...changeShape,
  })
  .meta({ id: 'ChangeTunnelRequest' });

/** Enable, disable. */
export const tunnelSwitchSchema = z.strictObject(changeShape).prefault({});

/** A DELETE has no body. */
export const removeTunnelQuery = {
  remove_site: flag.describe('If the site has no other tunnel, remove it too.'),
  by: changeShape.by,
  comment: changeShape.comment,
  confirm_ms: wholeNumber(MIN_CONFIRM_MS, MAX_CONFIRM_MS)
    .optional()
    .describe('Go back after so many milliseconds unless it is confirmed.'),
  reevaluate: flag.describe('Judge all live flows anew afterwards.'),
};

export type AddTunnelRequest = z.input<typeof addTunnelSchema>;
export type ChangeMembers = NonNullable<z.input<typeof tunnelSwitchSchema>>;
