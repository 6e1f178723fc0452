/** Changes of single tunnels: edits of the configuration that runs, which keep its comments, applied at once. */
import { addTunnel, changeTunnel, enableTunnel, removeTunnel } from '../../control/config/document-edit.ts';
import { changeOf } from '../change-of.ts';
import type { Api } from '../operation.ts';
import { appliedSchema } from '../schemas/config.ts';
import { nameParameter } from '../schemas/parameters.ts';
import {
  addTunnelSchema,
  changeTunnelSchema,
  removeTunnelQuery,
  tunnelSwitchSchema,
} from '../schemas/tunnel-changes.ts';

export function tunnelChangeRoutes(api: Api): void {
  api.route({
    method: 'POST',
    path: '/v1/tunnels',
    id: 'addTunnel',
    summary: 'Add a tunnel',
    description: 'To a site that is there, or to one that is made with it.',
    body: addTunnelSchema,
    answer: appliedSchema,
    handle: ({ body, caller, validateOnly }, control) =>
      control.configuration.edit(
        (text) => addTunnel(text, body.site, body.tunnel, body.prefixes),
        changeOf(body, caller, validateOnly),
      ),
  });
  api.route({
    method: 'PATCH',
    path: '/v1/tunnels/:name',
    id: 'changeTunnel',
    summary: 'Change keys of a tunnel',
    params: { name: nameParameter },
    body: changeTunnelSchema,
    answer: appliedSchema,
    handle: ({ params, body, caller, validateOnly }, control) =>
      control.configuration.edit(
        (text) => changeTunnel(text, params.name, body.values),
        changeOf(body, caller, validateOnly),
      ),
  });
  api.route({
    method: 'DELETE',
    path: '/v1/tunnels/:name',
    id: 'removeTunnel',
    summary: 'Remove a tunnel',
    params: { name: nameParameter },
    query: removeTunnelQuery,
    answer: appliedSchema,
    handle: ({ params, query, caller, validateOnly }, control) =>
      control.configuration.edit(
        (text) => removeTunnel(text, params.name, query.remove_site ? 'remove_site' : 'refuse'),
        changeOf({ ...query, confirmMs: query.confirm_ms }, caller, validateOnly),
      ),
  });
  for (const [verb, enabled] of [
    ['enable', true],
    ['disable', false],
  ] as const) {
    api.route({
      method: 'POST',
      path: `/v1/tunnels/:name/${verb}`,
      id: `${verb}Tunnel`,
      summary: enabled
        ? 'Enable a tunnel'
        : 'Disable a tunnel: it stays in the configuration and carries nothing',
      params: { name: nameParameter },
      body: tunnelSwitchSchema,
      answer: appliedSchema,
      handle: ({ params, body, caller, validateOnly }, control) =>
        control.configuration.edit(
          (text) => enableTunnel(text, params.name, enabled),
          changeOf(body, caller, validateOnly),
        ),
    });
  }
}
