/** The overlap audit of what runs. */
import type { Api } from '../operation.ts';
import { auditSchema } from '../schemas/audit.ts';

export function auditRoutes(api: Api): void {
  api.route({
    method: 'GET',
    path: '/v1/audit',
    id: 'auditAddresses',
    summary:
      'Which addresses several sites declare, what that means, and addresses in traffic that no plan has',
    answer: auditSchema,
    handle: (_, control) => control.audit(),
  });
}
