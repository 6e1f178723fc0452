/** The configuration. All throw ApiError. */
import type { ApiClient } from '../client.ts';
import {
  type AppliedBody,
  type ApplyRequest,
  type ConfigBody,
  configSchema,
  type DifferenceBody,
  type DiffRequest,
  differenceSchema,
  type HistoryBody,
  historySchema,
  type RevisionBody,
  type RevisionTextBody,
  type RollbackRequest,
  revisionSchema,
  revisionTextSchema,
} from '../schemas/config.ts';
import { askChange } from './changes.ts';

export function showConfig(client: ApiClient): Promise<ConfigBody> {
  return client.request(configSchema, 'GET', '/v1/config');
}

/** With `validateOnly` nothing changes. */
export function applyConfig(
  client: ApiClient,
  body: ApplyRequest,
  validateOnly = false,
): Promise<AppliedBody> {
  return askChange(client, ['PUT', '/v1/config'], { body }, validateOnly);
}

export function diffConfig(client: ApiClient, body: DiffRequest): Promise<DifferenceBody> {
  return client.request(differenceSchema, 'POST', '/v1/config/diff', { body });
}

/** Resolves to the revision that is kept. */
export function confirmConfig(client: ApiClient): Promise<RevisionBody> {
  return client.request(revisionSchema, 'POST', '/v1/config/confirm');
}

export function rollbackConfig(
  client: ApiClient,
  body: RollbackRequest,
  validateOnly = false,
): Promise<AppliedBody> {
  return askChange(client, ['POST', '/v1/config/rollback'], { body }, validateOnly);
}

export function configHistory(client: ApiClient): Promise<HistoryBody> {
  return client.request(historySchema, 'GET', '/v1/config/history');
}

export function showRevision(client: ApiClient, number: number): Promise<RevisionTextBody> {
  return client.request(revisionTextSchema, 'GET', `/v1/config/history/${number}`);
}
