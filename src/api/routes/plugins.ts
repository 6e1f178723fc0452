/** Plugins: what there is, and one of them. */
import type { Api } from '../operation.ts';
import { pluginDetailsSchema, pluginListSchema } from '../schemas/overview.ts';
import { nameParameter } from '../schemas/parameters.ts';

export function pluginRoutes(api: Api): void {
  api.route({
    method: 'GET',
    path: '/v1/plugins',
    id: 'listPlugins',
    summary: 'Plugins with their state',
    answer: pluginListSchema,
    handle: async (_, control) => ({ plugins: await control.overview.plugins() }),
  });
  api.route({
    method: 'GET',
    path: '/v1/plugins/:name',
    id: 'showPlugin',
    summary: 'One plugin',
    params: { name: nameParameter },
    answer: pluginDetailsSchema,
    handle: ({ params }, control) => control.overview.plugin(params.name),
  });
}
