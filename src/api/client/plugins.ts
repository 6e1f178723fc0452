/** Plugins. With `validateOnly` nothing changes. All throw ApiError. */
import type { ApiClient } from '../client.ts';
import type { AppliedBody } from '../schemas/config.ts';
import {
  type PluginDetailsBody,
  type PluginListBody,
  pluginDetailsSchema,
  pluginListSchema,
  type ViewAnswerBody,
  type ViewParameters,
  viewAnswerSchema,
} from '../schemas/plugins.ts';
import type { ChangeMembers } from '../schemas/tunnel-changes.ts';
import { askChange } from './changes.ts';

export async function listPlugins(client: ApiClient): Promise<PluginListBody['plugins']> {
  return (await client.request(pluginListSchema, 'GET', '/v1/plugins')).plugins;
}

export function showPlugin(client: ApiClient, name: string): Promise<PluginDetailsBody> {
  return client.request(pluginDetailsSchema, 'GET', pathOf(name));
}

export function switchPlugin(
  client: ApiClient,
  name: string,
  verb: 'enable' | 'disable',
  body: ChangeMembers,
  validateOnly: boolean,
): Promise<AppliedBody> {
  return askChange(client, ['POST', `${pathOf(name)}/${verb}`], { body }, validateOnly);
}

export function reloadPlugin(
  client: ApiClient,
  name: string,
  reevaluate: boolean,
  validateOnly: boolean,
): Promise<AppliedBody> {
  return askChange(client, ['POST', `${pathOf(name)}/reload`], { body: { reevaluate } }, validateOnly);
}

export function askPluginView(
  client: ApiClient,
  name: string,
  view: string,
  parameters: ViewParameters,
): Promise<ViewAnswerBody> {
  const path = `${pathOf(name)}/views/${encodeURIComponent(view)}`;
  return client.request(viewAnswerSchema, 'POST', path, { body: parameters });
}

function pathOf(name: string): string {
  return `/v1/plugins/${encodeURIComponent(name)}`;
}
