/** The audit as the API and the command line give it: overlaps of the plan, and addresses in traffic. */
import type { FlowMemory } from '../../flow/flow-memory.ts';
import type { Plan } from '../../pipeline/plan.ts';
import { type AuditedConfig, auditOverlaps, type OverlapReport } from './overlaps.ts';
import { findUndeclared, type UndeclaredReport } from './undeclared.ts';

export interface AuditReport extends OverlapReport {
  /** null: no flows could be looked at (a file that is only checked). */
  readonly undeclared: UndeclaredReport | null;
}

/** Audits a configuration without a gateway. */
export function auditConfig(config: AuditedConfig): AuditReport {
  return { ...auditOverlaps(config), undeclared: null };
}

/** Audits a running gateway: its configuration, and the flows of the plan that was made of it. */
export async function auditGateway(
  config: AuditedConfig,
  plan: Plan | undefined,
  memory: FlowMemory | undefined,
): Promise<AuditReport> {
  const isReadable = plan !== undefined && memory !== undefined;
  return { ...auditOverlaps(config), undeclared: isReadable ? await findUndeclared(plan, memory) : null };
}
