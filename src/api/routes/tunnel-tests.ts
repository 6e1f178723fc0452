/** Tests of tunnels, and packets that came by a tunnel where nothing expects them. */
import type { Api } from '../operation.ts';
import {
  mismatchesSchema,
  tunnelTestAnswerSchema,
  tunnelTestRequestSchema,
} from '../schemas/tunnel-tests.ts';

export function tunnelTestRoutes(api: Api): void {
  api.route({
    method: 'POST',
    path: '/v1/tunnel-tests',
    id: 'testTunnels',
    summary: 'Send test traffic through tunnels, and see by which tunnel the replies come back',
    description: 'Answered when all tests are done.',
    changes: false,
    body: tunnelTestRequestSchema,
    answer: tunnelTestAnswerSchema,
    handle: async ({ body, signal }, control) => ({
      results: await control.tunnelTests.run({ ...body, target: body.target }, signal),
    }),
  });
  api.route({
    method: 'GET',
    path: '/v1/mismatches',
    id: 'listMismatches',
    summary: 'Packets that came by a tunnel where nothing expects them',
    answer: mismatchesSchema,
    handle: (_, control) => control.tunnelTests.mismatches(),
  });
}
