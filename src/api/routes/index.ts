/** Every topic of the API: each file registers its own operations. */
import type { Api } from '../operation.ts';
import { auditRoutes } from './audit.ts';
import { captureRoutes } from './captures.ts';
import { configRoutes } from './config.ts';
import { eventRoutes } from './events.ts';
import { explainRoutes } from './explain.ts';
import { flowRoutes } from './flows.ts';
import { gatewayRoutes } from './gateway.ts';
import { metricsRoutes } from './metrics.ts';
import { pluginRoutes } from './plugins.ts';
import { siteRoutes } from './sites.ts';
import { tunnelChangeRoutes } from './tunnel-changes.ts';
import { tunnelTestRoutes } from './tunnel-tests.ts';
import { tunnelRoutes } from './tunnels.ts';

export function registerRoutes(api: Api): void {
  gatewayRoutes(api);
  tunnelRoutes(api);
  tunnelChangeRoutes(api);
  tunnelTestRoutes(api);
  siteRoutes(api);
  pluginRoutes(api);
  flowRoutes(api);
  explainRoutes(api);
  auditRoutes(api);
  captureRoutes(api);
  configRoutes(api);
  eventRoutes(api);
  metricsRoutes(api);
}
