/**
 * Which plugin a data plane was running when it stopped answering: read from its flow memory, which outlives it.
 *
 * Neighbours: `plugin/running-plugin.ts` (what is written), `supervisor.ts` (asks before it ends the process).
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { FLOW_MEMORY_HEADER_BYTES, readFlowMemoryHeader } from '../../flow/flow-memory.ts';
import { describeRunning } from '../../plugin/running-plugin.ts';

/** Name and hook as text; undefined if no plugin runs, or the flow memory cannot be read. */
export function runningPlugin(flowMemoryPath: string): string | undefined {
  const header = new ArrayBuffer(FLOW_MEMORY_HEADER_BYTES);
  try {
    const file = openSync(flowMemoryPath, 'r');
    try {
      // The head of a mapped file: what the data plane has stored, it also reads.
      if (readSync(file, new Uint8Array(header)) < header.byteLength) return undefined;
    } finally {
      closeSync(file);
    }
  } catch {
    return undefined;
  }
  const read = readFlowMemoryHeader(header);
  return read === undefined ? undefined : describeRunning(read.runningPlugin, read.plugins);
}
