/** Flows: listed, shown, ended. */
import type * as z from 'zod';
import type { FlowQuery } from '../../control/flows/flow-query.ts';
import { RequestError } from '../../control/request-error.ts';
import type { Api } from '../operation.ts';
import {
  flowPageSchema,
  flowPageShape,
  flowQueryShape,
  flowSchema,
  flushedSchema,
  flushShape,
} from '../schemas/flows.ts';
import { wholeNumber } from '../schemas/parameters.ts';

export function flowRoutes(api: Api): void {
  api.route({
    method: 'GET',
    path: '/v1/flows',
    id: 'listFlows',
    summary: 'Flows that meet the conditions, a page at a time',
    description:
      'Read from the flow memory, without asking the data plane. Pages are in no order of time: a flow keeps its place for as long as it lives.',
    query: { ...flowQueryShape, ...flowPageShape },
    answer: flowPageSchema,
    handle: ({ query }, control) => {
      const { limit, cursor, order } = query;
      return control.flows.list({ ...flowQuery(query), limit, cursor, order });
    },
  });
  api.route({
    method: 'GET',
    path: '/v1/flows/:id',
    id: 'showFlow',
    summary: 'One flow',
    params: { id: wholeNumber(1, 0xffffffff) },
    answer: flowSchema,
    handle: ({ params }, control) => control.flows.show(params.id),
  });
  api.route({
    method: 'POST',
    path: '/v1/flows/flush',
    id: 'flushFlows',
    summary: 'End the flows that meet the conditions',
    description:
      'Their ports and tuples stay held, as after any end. Without a condition nothing is ended, unless `all=true` says so.',
    query: flushShape,
    answer: flushedSchema,
    handle: async ({ query, validateOnly }, control) => {
      const conditions = flowQuery(query);
      const isBounded = Object.values(conditions).some((value) => value !== undefined);
      if (query.all === isBounded) {
        throw new RequestError(
          'invalid',
          'flush_what',
          isBounded
            ? 'all stands beside conditions; leave one out'
            : 'give a condition, or all=true for every flow',
        );
      }
      const flows = control.flows;
      return { flows: validateOnly ? await flows.count(conditions) : await flows.flush(conditions) };
    },
  });
}

/** The conditions of a request, in control's spelling. */
function flowQuery(query: z.output<z.ZodObject<typeof flowQueryShape>>): FlowQuery {
  const { source_port: sourcePort, destination_port: destinationPort } = query;
  const { id, tunnel, site, address, source, destination, port, protocol, state, verdict, plugin } = query;
  return {
    id,
    tunnel,
    site,
    address,
    source,
    destination,
    port,
    sourcePort,
    destinationPort,
    protocol,
    state,
    verdict,
    plugin,
  };
}
