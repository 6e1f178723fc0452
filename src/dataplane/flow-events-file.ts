/**
 * The file of flow events, beside the flow memory: made when a plan first asks for events, and found again by the
 * next data plane, with what control has not read yet.
 *
 * A file that cannot be used (another boot, another version) is replaced, not written over: control may still
 * have it mapped. Neighbours: `flow/flow-event-ring.ts`, `control/flow-log/` (the reader), `data-plane.ts`.
 */
import { readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { mapFile } from '../device/native.ts';
import { FlowEventRing, flowEventRingBytes, RING_EVENTS } from '../flow/flow-event-ring.ts';
import { FlowEventWriter } from '../flow/flow-event-writer.ts';
import type { PlanFlowEvents } from '../pipeline/plan.ts';
import { DROP } from '../plugin/drop-reasons.ts';

/** Where the events of a flow memory lie. */
export function flowEventsPath(flowMemoryPath: string): string {
  return join(dirname(flowMemoryPath), 'flow-events');
}

/**
 * The writer that a plan asks for.
 *
 * @throws NativeError if the file cannot be made or mapped
 */
export function openFlowEvents(flowMemoryPath: string, asked: PlanFlowEvents): FlowEventWriter {
  const path = flowEventsPath(flowMemoryPath);
  const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  const reasons = asked.refusals.map((name) => DROP[name]);
  return new FlowEventWriter(find(path, bootId) ?? make(path, bootId), reasons, asked.refusalsPerSecond);
}

function find(path: string, bootId: string): FlowEventRing | undefined {
  const lengthBytes = flowEventRingBytes(RING_EVENTS);
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined || found.size !== lengthBytes) return undefined;
  return FlowEventRing.open(mapFile(path, lengthBytes), bootId);
}

function make(path: string, bootId: string): FlowEventRing {
  const beside = `${path}.next`;
  rmSync(beside, { force: true });
  const buffer = mapFile(beside, flowEventRingBytes(RING_EVENTS), { create: true });
  const ring = FlowEventRing.create(buffer, RING_EVENTS, bootId);
  renameSync(beside, path);
  return ring;
}
