/** Tests of tunnels, and mismatches. All throw ApiError. */
import type { ApiClient } from '../client.ts';
import {
  type MismatchesBody,
  mismatchesSchema,
  type TunnelTestRequestBody,
  type TunnelTestResultBody,
  tunnelTestAnswerSchema,
} from '../schemas/tunnel-tests.ts';

/** Resolves when all tests are done. */
export async function testTunnels(
  client: ApiClient,
  request: TunnelTestRequestBody,
): Promise<TunnelTestResultBody[]> {
  // As long as it takes: the server bounds it.
  const options = { body: request, timeoutMs: 0 };
  return (await client.request(tunnelTestAnswerSchema, 'POST', '/v1/tunnel-tests', options)).results;
}

export function listMismatches(client: ApiClient): Promise<MismatchesBody> {
  return client.request(mismatchesSchema, 'GET', '/v1/mismatches');
}
