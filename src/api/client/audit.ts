/** The overlap audit. Throws ApiError. */
import type { ApiClient } from '../client.ts';
import { type AuditBody, auditSchema } from '../schemas/audit.ts';

export function audit(client: ApiClient): Promise<AuditBody> {
  return client.request(auditSchema, 'GET', '/v1/audit');
}
