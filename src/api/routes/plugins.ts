/** Plugins: what there is, one of them, its views, and changes of it. */
import { enablePlugin } from '../../control/config/document-edit.ts';
import { RequestError } from '../../control/request-error.ts';
import { changeOf } from '../change-of.ts';
import type { Api } from '../operation.ts';
import { appliedSchema } from '../schemas/config.ts';
import { nameParameter } from '../schemas/parameters.ts';
import {
  pluginDetailsSchema,
  pluginListSchema,
  pluginReloadSchema,
  pluginSwitchSchema,
  viewAnswerSchema,
  viewParametersSchema,
} from '../schemas/plugins.ts';

export function pluginRoutes(api: Api): void {
  api.route({
    method: 'GET',
    path: '/v1/plugins',
    id: 'listPlugins',
    summary: 'Plugins with their state, in the order in which they run',
    answer: pluginListSchema,
    handle: async (_, control) => ({ plugins: [...(await control.plugins.list())] }),
  });
  api.route({
    method: 'GET',
    path: '/v1/plugins/:name',
    id: 'showPlugin',
    summary: 'One plugin',
    params: { name: nameParameter },
    answer: pluginDetailsSchema,
    handle: ({ params }, control) => control.plugins.show(params.name),
  });
  api.route({
    method: 'POST',
    path: '/v1/plugins/:name/enable',
    id: 'enablePlugin',
    summary: 'Enable a plugin',
    description:
      'One that is enabled is read anew: if it was tripped, it is called again. Nothing waits for a confirmation then, so that a request with one is refused.',
    params: { name: nameParameter },
    body: pluginSwitchSchema,
    answer: appliedSchema,
    handle: async ({ params: { name }, body, caller, validateOnly }, control) => {
      const change = changeOf(body, caller, validateOnly);
      if (!control.plugins.isEnabled(name)) {
        return await control.configuration.edit((text) => enablePlugin(text, name, true), change);
      }
      if (change.confirmMs !== undefined) {
        const why = `${name} is enabled already, so that there is nothing to go back to; leave the confirmation out, and it is read anew`;
        throw new RequestError('conflict', 'nothing_to_confirm', why);
      }
      return await control.configuration.reloadPlugin(name, change);
    },
  });
  api.route({
    method: 'POST',
    path: '/v1/plugins/:name/disable',
    id: 'disablePlugin',
    summary: 'Disable a plugin: it stays in the configuration and is not run',
    params: { name: nameParameter },
    body: pluginSwitchSchema,
    answer: appliedSchema,
    handle: ({ params, body, caller, validateOnly }, control) =>
      control.configuration.edit(
        (text) => enablePlugin(text, params.name, false),
        changeOf(body, caller, validateOnly),
      ),
  });
  api.route({
    method: 'POST',
    path: '/v1/plugins/:name/reload',
    id: 'reloadPlugin',
    summary: "Read a plugin's files anew: manifest, code, and what its options name",
    description: 'Whole or not at all: if anything is wrong with them, the plugin runs on as it is.',
    params: { name: nameParameter },
    body: pluginReloadSchema,
    answer: appliedSchema,
    handle: ({ params, body, validateOnly }, control) =>
      control.configuration.reloadPlugin(params.name, { ...body, validateOnly }),
  });
  api.route({
    method: 'POST',
    path: '/v1/plugins/:name/views/:view',
    id: 'askPluginView',
    summary: 'What a plugin tells of itself',
    description:
      "The plugin's manifest declares its views and what they take; the answer is the plugin's own.",
    role: 'read',
    changes: false,
    params: { name: nameParameter, view: nameParameter },
    body: viewParametersSchema,
    answer: viewAnswerSchema,
    handle: ({ params, body }, control) => control.plugins.view(params.name, params.view, body),
  });
}
