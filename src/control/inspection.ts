/**
 * What operators may look into while the gateway runs: flows, the routing table, the address plans.
 *
 * Neighbours: `flows/`, `routes/`, `audit/`; `gateway.ts` owns one.
 */
import type { Plan } from '../pipeline/plan.ts';
import { type AuditReport, auditGateway } from './audit/audit.ts';
import type { Config } from './config/config.ts';
import { FlowService } from './flows/flow-service.ts';
import { MappedFlowMemory } from './flows/mapped-flow-memory.ts';
import { RouteService } from './routes/route-service.ts';
import type { Supervisor } from './runtime/supervisor.ts';

/** What it is made from; all of it as it is when it is asked for. */
export interface InspectionOptions {
  readonly flowMemoryPath: string;
  config(): Config;
  plan(): Plan | undefined;
  readonly supervisor: Supervisor;
}

export class Inspection {
  readonly flows: FlowService;
  readonly routes: RouteService;
  readonly #options: InspectionOptions;
  readonly #memory: MappedFlowMemory;

  constructor(options: InspectionOptions) {
    const { supervisor, flowMemoryPath } = options;
    const plan = (): Plan | undefined => options.plan();
    this.#options = options;
    this.#memory = new MappedFlowMemory(flowMemoryPath);
    this.flows = new FlowService({
      plan,
      memory: this.#memory,
      flush: (conditions) => supervisor.flush(conditions),
      explain: (question) => supervisor.explain(question),
    });
    this.routes = new RouteService({ plan, explain: (question) => supervisor.explain(question) });
  }

  /** Overlaps of the running configuration, and addresses that no plan declares. */
  audit(): Promise<AuditReport> {
    return auditGateway(this.#options.config(), this.#options.plan(), this.#memory.get());
  }
}
