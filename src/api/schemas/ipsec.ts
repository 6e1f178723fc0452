/** How an `ipsec` tunnel is, in detail; `control/ipsec/ipsec-view.ts` has the same shape. */
import * as z from 'zod';

export const ipsecSchema = z
  .object({
    localId: z.string(),
    remoteId: z.string(),
    ike: z
      .object({
        proposal: z.string().describe('What was agreed on.'),
        peer: z.string().describe('Where the peer is now.'),
        peerPort: z.int(),
        translated: z.boolean().describe('Whether addresses are translated on the way.'),
        establishedSeconds: z.number(),
        rekeySeconds: z.number().nullable().describe('Until it is rekeyed.'),
      })
      .nullable()
      .describe('null: there is no SA.'),
    child: z
      .object({
        proposal: z.string(),
        encapsulated: z.boolean().describe('Whether ESP travels in UDP.'),
        localSelectors: z.array(z.string()),
        remoteSelectors: z.array(z.string()),
        installedSeconds: z.number(),
        rekeySeconds: z.number().nullable(),
      })
      .nullable(),
    traffic: z
      .object({
        bytesIn: z.number(),
        packetsIn: z.number(),
        bytesOut: z.number(),
        packetsOut: z.number(),
      })
      .describe('Of IP packets inside, over all SAs since control has begun; looked at every five seconds.'),
    rekeyings: z.object({ ike: z.int(), child: z.int() }),
    certificates: z.array(
      z.object({
        whose: z.enum(['own', 'authority', 'peer']),
        subject: z.string(),
        ends: z.string().describe('ISO 8601, UTC.'),
      }),
    ),
  })
  .meta({ id: 'IpsecDetails' });

export type IpsecBody = z.infer<typeof ipsecSchema>;
