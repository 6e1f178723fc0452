/** Tunnels: what there is, and one of them. */
import type { Api } from '../operation.ts';
import { tunnelDetailsSchema, tunnelListSchema } from '../schemas/overview.ts';
import { nameParameter } from '../schemas/parameters.ts';

export function tunnelRoutes(api: Api): void {
  api.route({
    method: 'GET',
    path: '/v1/tunnels',
    id: 'listTunnels',
    summary: 'Tunnels with their state',
    answer: tunnelListSchema,
    handle: async (_, control) => ({ tunnels: await control.overview.tunnels() }),
  });
  api.route({
    method: 'GET',
    path: '/v1/tunnels/:name',
    id: 'showTunnel',
    summary: 'One tunnel',
    params: { name: nameParameter },
    answer: tunnelDetailsSchema,
    handle: ({ params }, control) => control.overview.tunnel(params.name),
  });
}
