/** Explanations and the routing table. All throw ApiError. */
import type { ApiClient } from '../client.ts';
import {
  type ExplanationBody,
  explanationSchema,
  type RouteListBody,
  routeListSchema,
} from '../schemas/explain.ts';

/** `query`: as `GET /v1/explain` takes it. */
export function explain(
  client: ApiClient,
  query: Readonly<Record<string, string | number | undefined>>,
): Promise<ExplanationBody> {
  return client.request(explanationSchema, 'GET', '/v1/explain', { query });
}

export async function listRoutes(client: ApiClient): Promise<RouteListBody['routes']> {
  return (await client.request(routeListSchema, 'GET', '/v1/routes')).routes;
}

/** Where an address leads from a tunnel, or for anybody. */
export function testRoute(
  client: ApiClient,
  address: string,
  fromTunnel: string | undefined,
): Promise<ExplanationBody> {
  return client.request(explanationSchema, 'GET', '/v1/routes/test', {
    query: { address, from_tunnel: fromTunnel },
  });
}
