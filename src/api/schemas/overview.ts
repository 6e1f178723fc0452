/** Bodies of tunnels and sites; `control/overview.ts` has the same shapes. */
import * as z from 'zod';
import { tunnelSchema } from './gateway.ts';
import { ipsecSchema } from './ipsec.ts';

export const tunnelListSchema = z.object({ tunnels: z.array(tunnelSchema) }).meta({ id: 'TunnelList' });

export const tunnelDetailsSchema = z
  .object({
    ...tunnelSchema.shape,
    automaticReturnRouting: z.boolean(),
    interfaceAddresses: z.array(z.string()),
    outer: z.object({ local: z.string(), remote: z.string(), key: z.int().nullable() }).nullable(),
    nextHops: z.array(z.string()),
    ipsec: ipsecSchema.nullable().describe('null: it is no ipsec tunnel, or does not run.'),
  })
  .meta({ id: 'TunnelDetails' });

const siteShape = {
  name: z.string(),
  prefixes: z.array(z.string()),
  state: z.enum(['up', 'down']),
  flows: z.number(),
};

export const siteListSchema = z
  .object({ sites: z.array(z.object({ ...siteShape, tunnels: z.array(z.string()) })) })
  .meta({ id: 'SiteList' });

export const siteDetailsSchema = z
  .object({
    ...siteShape,
    tunnels: z.array(tunnelSchema),
    routes: z.array(z.object({ prefix: z.string(), priority: z.int() })),
  })
  .meta({ id: 'SiteDetails' });

export type TunnelDetailsBody = z.infer<typeof tunnelDetailsSchema>;
export type SiteListBody = z.infer<typeof siteListSchema>;
export type SiteDetailsBody = z.infer<typeof siteDetailsSchema>;
