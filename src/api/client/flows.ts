/** Flows. All throw ApiError. */
import type { ApiClient } from '../client.ts';
import {
  type FlowBody,
  type FlowPageBody,
  flowPageSchema,
  flowSchema,
  flushedSchema,
  MAX_PAGE_FLOWS,
} from '../schemas/flows.ts';

/** Conditions as `GET /v1/flows` takes them. */
export type FlowConditionParameters = Readonly<Record<string, string | number | undefined>>;

/** Flows that meet the conditions: as many pages as `limit` needs. `next` of the answer: there are more. */
export async function listFlows(
  client: ApiClient,
  conditions: FlowConditionParameters,
  limit: number,
  order?: 'bytes' | 'packets' | 'newest',
): Promise<FlowPageBody> {
  const flows: FlowBody[] = [];
  let cursor: string | undefined;
  for (;;) {
    const query = { ...conditions, limit: Math.min(limit - flows.length, MAX_PAGE_FLOWS), cursor, order };
    const page = await client.request(flowPageSchema, 'GET', '/v1/flows', { query });
    flows.push(...page.flows);
    if (page.next === null || flows.length >= limit) return { ...page, flows };
    cursor = page.next;
  }
}

export function showFlow(client: ApiClient, id: number): Promise<FlowBody> {
  return client.request(flowSchema, 'GET', `/v1/flows/${id}`);
}

/** Ends flows; resolves to their number. With `validateOnly` none ends. */
export async function flushFlows(
  client: ApiClient,
  conditions: FlowConditionParameters,
  options: { readonly all?: boolean; readonly validateOnly?: boolean } = {},
): Promise<number> {
  const query = {
    ...conditions,
    all: options.all === true ? true : undefined,
    validate_only: options.validateOnly === true ? true : undefined,
  };
  return (await client.request(flushedSchema, 'POST', '/v1/flows/flush', { query })).flows;
}
