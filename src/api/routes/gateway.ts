/** The gateway as a whole: its status, and its end. */
import type { Api } from '../operation.ts';
import { downSchema, statusSchema } from '../schemas/gateway.ts';

export function gatewayRoutes(api: Api): void {
  api.route({
    method: 'GET',
    path: '/v1/status',
    id: 'getStatus',
    summary: 'State and counters of the gateway, its tunnels and its egresses',
    answer: statusSchema,
    handle: (_, control) => control.status(),
  });
  api.route({
    method: 'POST',
    path: '/v1/down',
    id: 'takeDown',
    summary: 'Take the gateway down: tunnels, devices, flows and, last, the guard',
    description: 'Answered when everything is down; then the server ends.',
    answer: downSchema,
    handle: async ({ validateOnly }, control) => {
      if (!validateOnly) await control.down();
      return { down: !validateOnly };
    },
  });
}
