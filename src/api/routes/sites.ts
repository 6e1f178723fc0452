/** Sites: what there is, and one of them. */
import type { Api } from '../operation.ts';
import { siteDetailsSchema, siteListSchema } from '../schemas/overview.ts';
import { nameParameter } from '../schemas/parameters.ts';

export function siteRoutes(api: Api): void {
  api.route({
    method: 'GET',
    path: '/v1/sites',
    id: 'listSites',
    summary: 'Sites with their state',
    answer: siteListSchema,
    handle: async (_, control) => ({ sites: await control.overview.sites() }),
  });
  api.route({
    method: 'GET',
    path: '/v1/sites/:name',
    id: 'showSite',
    summary: 'One site',
    params: { name: nameParameter },
    answer: siteDetailsSchema,
    handle: ({ params }, control) => control.overview.site(params.name),
  });
}
