/** Changes of single tunnels. With `validateOnly` nothing changes. All throw ApiError. */
import type { ApiClient } from '../client.ts';
import type { AppliedBody } from '../schemas/config.ts';
import type { AddTunnelRequest, ChangeMembers } from '../schemas/tunnel-changes.ts';
import { askChange } from './changes.ts';

export function addTunnel(
  client: ApiClient,
  body: AddTunnelRequest,
  validateOnly: boolean,
): Promise<AppliedBody> {
  return askChange(client, ['POST', '/v1/tunnels'], { body }, validateOnly);
}

/** @param removeSite if the site has no other tunnel, remove it too */
export function removeTunnel(
  client: ApiClient,
  name: string,
  removeSite: boolean,
  { by, comment, confirmMs, reevaluate = false }: ChangeMembers,
  validateOnly: boolean,
): Promise<AppliedBody> {
  const query = { by, comment, confirm_ms: confirmMs, remove_site: removeSite, reevaluate };
  return askChange(client, ['DELETE', `/v1/tunnels/${encodeURIComponent(name)}`], { query }, validateOnly);
}

export function switchTunnel(
  client: ApiClient,
  name: string,
  verb: 'enable' | 'disable',
  body: ChangeMembers,
  validateOnly: boolean,
): Promise<AppliedBody> {
  const path = `/v1/tunnels/${encodeURIComponent(name)}/${verb}`;
  return askChange(client, ['POST', path], { body }, validateOnly);
}
