/** What all requests for changes of the configuration have in common: the answer, and that they can be tried first. */
import type { ApiClient, RequestOptions } from '../client.ts';
import { type AppliedBody, appliedSchema } from '../schemas/config.ts';

/**
 * Asks for a change. With `validateOnly` nothing changes, and the answer says what would.
 *
 * @throws ApiError
 */
export function askChange(
  client: ApiClient,
  [method, path]: readonly [method: 'POST' | 'PUT' | 'DELETE', path: string],
  options: Pick<RequestOptions, 'body' | 'query'>,
  validateOnly: boolean,
): Promise<AppliedBody> {
  const query = { ...options.query, validate_only: validateOnly || undefined };
  return client.request(appliedSchema, method, path, { ...options, query });
}
