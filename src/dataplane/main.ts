/** The data plane process: started and supervised by control. See `data-plane.ts`. */
import { join } from 'node:path';
import { lockNamespace, namespaceLockHolder } from '../device/native.ts';
import { DataPlane } from './data-plane.ts';
import { raiseInliningBudgets } from './inlining.ts';
import { DATA_PLANE_LOCK, parseDataPlaneArguments } from './messages.ts';
import { boundPrintedOutput, PRINTED_OUTPUT } from './printed-output.ts';

// Held until this process ends.
if (lockNamespace(DATA_PLANE_LOCK) === null) {
  const holder = namespaceLockHolder(DATA_PLANE_LOCK) ?? 'unknown';
  throw new Error(`another data plane runs in this network namespace: process ${holder}`);
}
const given = parseDataPlaneArguments(process.argv.slice(2));
boundPrintedOutput(join(given.runtimeDirectory, PRINTED_OUTPUT));
raiseInliningBudgets();
new DataPlane(given).run();
