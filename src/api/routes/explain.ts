/** Why packets go where they go, and the routing table. */
import * as z from 'zod';
import type { Api } from '../operation.ts';
import { explanationSchema, routeListSchema } from '../schemas/explain.ts';
import { nameParameter, portParameter, wholeNumber } from '../schemas/parameters.ts';

const addressText = z.string().max(45);
const portNumber = wholeNumber(0, 65535);

export function explainRoutes(api: Api): void {
  api.route({
    method: 'GET',
    path: '/v1/explain',
    id: 'explain',
    summary: 'What becomes of a live flow, or would become of a packet, step by step',
    description:
      'With `flow`, or with addresses that only one live flow has: that flow. With `from_tunnel`: a packet that comes in by it. Asked of the stages that forward; nothing is changed.',
    query: {
      flow: wholeNumber(1, 0xffffffff).optional(),
      from_tunnel: portParameter.optional(),
      site: nameParameter.optional().describe('Whose flow, where several sites have the same five-tuple.'),
      source: addressText.optional(),
      destination: addressText.optional(),
      protocol: z.string().max(8).optional().describe('tcp, udp, icmp, icmpv6, sctp or a number.'),
      source_port: portNumber.optional(),
      destination_port: portNumber.optional(),
      bytes: wholeNumber(1, 65535).optional().describe('Length of the IP packet.'),
    },
    answer: explanationSchema,
    handle: ({ query }, control) => {
      const { flow, site, source, destination, protocol, bytes } = query;
      const { from_tunnel: fromTunnel, source_port: sourcePort, destination_port: destinationPort } = query;
      return control.flows.explain({
        flow,
        fromTunnel,
        site,
        source,
        destination,
        protocol,
        sourcePort,
        destinationPort,
        bytes,
      });
    },
  });
  api.route({
    method: 'GET',
    path: '/v1/routes',
    id: 'listRoutes',
    summary: "The routing table: the sites' own prefixes and the configured routes",
    answer: routeListSchema,
    handle: async (_, control) => ({ routes: await control.routes.list() }),
  });
  api.route({
    method: 'GET',
    path: '/v1/routes/test',
    id: 'testRoute',
    summary: 'Where an address leads',
    query: {
      address: addressText,
      from_tunnel: portParameter
        .optional()
        .describe('The tunnel or egress that a flow towards it would come in by.'),
    },
    answer: explanationSchema,
    handle: ({ query }, control) => control.routes.test(query.address, query.from_tunnel),
  });
}
