/** `/metrics`: the same text as at `metrics.listen`, for a Prometheus that may read the socket, or by TLS and token. */
import { EXPOSITION_TYPE } from '../../control/metrics/exposition.ts';
import type { Api } from '../operation.ts';

export function metricsRoutes(api: Api): void {
  api.stream({
    method: 'GET',
    path: '/metrics',
    id: 'getMetrics',
    summary: 'Counters and gauges for Prometheus',
    description: "In Prometheus' text format. Read from shared memory: the data plane is not asked.",
    contentType: EXPOSITION_TYPE,
    answerDescription: 'Metrics, each with HELP and TYPE.',
    handle: async (_, control) => control.metrics(),
  });
}
