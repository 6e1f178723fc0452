/** Bodies of tunnel tests and of mismatches; `control/tunnel-test/` has the same shapes, and says what they mean. */
import * as z from 'zod';
import { nameParameter } from './parameters.ts';

/** What nobody needs to wait for longer. */
const MAX_TIMEOUT_MS = 10_000;

export const tunnelTestRequestSchema = z
  .strictObject({
    tunnels: z.array(nameParameter).max(1024).default([]).describe('Names; all if there are none.'),
    target: z
      .union([z.ipv4('is not an address'), z.ipv6('is not an address')])
      .optional()
      .describe(
        'An address that answers ping; default: the next hop or only other end, else a neighbour that is known, else the host of the newest flow.',
      ),
    count: z.int().min(1).max(20).default(3).describe('Echo requests for each tunnel.'),
    timeoutMs: z.int().min(50).max(MAX_TIMEOUT_MS).default(2000).describe('How long to wait for each reply.'),
  })
  .meta({ id: 'TunnelTestRequest' });

export const tunnelTestResultSchema = z
  .object({
    tunnel: z.string(),
    site: z.string(),
    target: z.string().nullable(),
    targetFrom: z.enum(['request', 'configuration', 'neighbor', 'flow']).nullable(),
    outcome: z.enum(['passed', 'lossy', 'no_reply', 'wrong_tunnel', 'down', 'not_sent']),
    reason: z.string().nullable(),
    sent: z.int(),
    received: z.int(),
    elsewhere: z.record(z.string(), z.int()),
    rttMs: z.object({ min: z.number(), average: z.number(), max: z.number() }).nullable(),
    ipsec: z
      .object({
        peer: z.enum(['connected', 'silent', 'refused', 'waiting', 'blocked']),
        reason: z.string().nullable(),
        address: z.string().nullable().describe('Where the peer is.'),
        ikeProposal: z.string().nullable().describe('What was agreed on.'),
        childProposal: z.string().nullable(),
        mtu: z.int().describe('Bytes of the largest packet inside.'),
      })
      .nullable()
      .describe('null: it is no ipsec tunnel, or does not run.'),
  })
  .meta({ id: 'TunnelTestResult' });

export const tunnelTestAnswerSchema = z.object({ results: z.array(tunnelTestResultSchema) });

export const mismatchesSchema = z
  .object({
    unexpectedReplies: z.number(),
    foreignTunnelPackets: z.number(),
    mismatches: z.array(
      z.object({
        time: z.string(),
        kind: z.enum(['unexpected_reply', 'foreign_tunnel']),
        tunnel: z.string().nullable(),
        expected: z.string().nullable(),
        flow: z.int().nullable(),
        protocol: z.int(),
        source: z.string(),
        sourcePort: z.int(),
        destination: z.string(),
        destinationPort: z.int(),
      }),
    ),
  })
  .meta({ id: 'Mismatches' });

export type TunnelTestRequestBody = z.input<typeof tunnelTestRequestSchema>;
export type TunnelTestResultBody = z.infer<typeof tunnelTestResultSchema>;
export type MismatchesBody = z.infer<typeof mismatchesSchema>;
