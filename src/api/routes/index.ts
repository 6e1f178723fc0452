/** Every topic of the API: each file registers its own operations. */
import type { Api } from '../operation.ts';
import { eventRoutes } from './events.ts';
import { gatewayRoutes } from './gateway.ts';

export function registerRoutes(api: Api): void {
  gatewayRoutes(api);
  eventRoutes(api);
}
