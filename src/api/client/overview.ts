/** Tunnels and sites. All throw ApiError. */
import type { ApiClient } from '../client.ts';
import type { TunnelBody } from '../schemas/gateway.ts';
import {
  type SiteDetailsBody,
  type SiteListBody,
  siteDetailsSchema,
  siteListSchema,
  type TunnelDetailsBody,
  tunnelDetailsSchema,
  tunnelListSchema,
} from '../schemas/overview.ts';

export async function listTunnels(client: ApiClient): Promise<TunnelBody[]> {
  return (await client.request(tunnelListSchema, 'GET', '/v1/tunnels')).tunnels;
}

export function showTunnel(client: ApiClient, name: string): Promise<TunnelDetailsBody> {
  return client.request(tunnelDetailsSchema, 'GET', `/v1/tunnels/${encodeURIComponent(name)}`);
}

export async function listSites(client: ApiClient): Promise<SiteListBody['sites']> {
  return (await client.request(siteListSchema, 'GET', '/v1/sites')).sites;
}

export function showSite(client: ApiClient, name: string): Promise<SiteDetailsBody> {
  return client.request(siteDetailsSchema, 'GET', `/v1/sites/${encodeURIComponent(name)}`);
}
