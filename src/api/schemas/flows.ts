/** Bodies of flows; `control/flows/flow-view.ts` has the same shapes. */
import * as z from 'zod';
import { FLOW_STATE_NAMES } from '../../flow/flow-state.ts';
import { flag, nameParameter, portParameter, wholeNumber } from './parameters.ts';

/** What a flow may be doing. */
export const FLOW_STATES = FLOW_STATE_NAMES;
/** Most flows of a page. */
export const MAX_PAGE_FLOWS = 10_000;
const MAX_ID = 0xffffffff;

const tupleSchema = z
  .object({
    source: z.string(),
    sourcePort: z.int(),
    destination: z.string(),
    destinationPort: z.int(),
  })
  .meta({ id: 'FlowTuple', description: 'Ports of ICMP are its identifier and 0.' });

const countSchema = z.object({ packets: z.number(), bytes: z.number() });

export const flowSchema = z
  .object({
    id: z.int(),
    site: z.string(),
    protocol: z.string(),
    state: z.enum(FLOW_STATE_NAMES),
    tcp: z.object({ originator: z.string(), reply: z.string() }).nullable(),
    from: z.string().describe('Address space of the originator: a site or an egress.'),
    to: z.string().describe('Address space of the responder.'),
    original: tupleSchema.describe('As the originator sends it.'),
    translated: tupleSchema.nullable().describe('As the responder sees it; null: nothing is translated.'),
    ingress: z.string(),
    egress: z.string(),
    pin: z.string().describe('The tunnel that replies go to.'),
    automaticReturnRouting: z.boolean(),
    answered: z.boolean(),
    vouched: z.boolean().describe('False: found after a restart; replies wait for the originator.'),
    ageMs: z.number(),
    idleMs: z.number(),
    timeout: z.string(),
    expiresInMs: z.number(),
    originator: countSchema,
    reply: countSchema,
    acceptedBy: z.string().nullable(),
    inspectedBy: z.array(z.string()),
    planGeneration: z.int(),
  })
  .meta({ id: 'Flow' });

export const flowPageSchema = z
  .object({
    flows: z.array(flowSchema),
    total: z.int().describe('Flows in the table, whatever was asked for.'),
    capacity: z.int(),
    next: z.string().nullable().describe('`cursor` of the next page.'),
  })
  .meta({ id: 'FlowPage' });

export const flushedSchema = z
  .object({ flows: z.int().describe('How many were ended; with `validate_only`, would be.') })
  .meta({ id: 'FlushedFlows' });

const addressText = z.string().max(64);
const portNumber = wholeNumber(0, 65535);

/** Conditions on flows; all that are given must hold. */
export const flowQueryShape = {
  id: wholeNumber(1, MAX_ID).optional(),
  tunnel: portParameter.optional().describe('Comes or goes by this tunnel, egress or diversion.'),
  site: nameParameter.optional().describe('This site or egress takes part.'),
  address: addressText.optional().describe('Any of its addresses; an address or a prefix.'),
  source: addressText.optional().describe('Original source; an address or a prefix.'),
  destination: addressText.optional().describe('Original destination; an address or a prefix.'),
  port: portNumber.optional().describe('Any of its ports, or its ICMP identifier.'),
  source_port: portNumber.optional(),
  destination_port: portNumber.optional(),
  protocol: z.string().max(8).optional().describe('tcp, udp, icmp, icmpv6, sctp or a number.'),
  state: z.enum(FLOW_STATE_NAMES).optional(),
  verdict: z.enum(['accept', 'continue']).optional().describe('Whether a plugin accepted it.'),
  plugin: nameParameter.optional().describe('This plugin accepted it, or still looks at it.'),
};

/** What a page is, beside the conditions. */
export const flowPageShape = {
  limit: wholeNumber(1, MAX_PAGE_FLOWS).default(100),
  cursor: z.string().max(16).optional().describe('`next` of the page before.'),
  order: z
    .enum(['bytes', 'packets', 'newest'])
    .optional()
    .describe('What comes first; such a listing has one page.'),
};

/** Ending every flow there is has to be said. */
export const flushShape = { ...flowQueryShape, all: flag.describe('Without any condition: every flow.') };

export type FlowBody = z.infer<typeof flowSchema>;
export type FlowPageBody = z.infer<typeof flowPageSchema>;
