/** Starts the data plane in a namespace, without control: the plan comes from here. */
import { join } from 'node:path';
import { DataPlaneLink } from '../../src/control/runtime/data-plane-link.ts';
import { dataPlaneMain } from '../../src/control/runtime/data-plane-process.ts';
import { type DataPlaneMessage, formatDataPlaneArguments } from '../../src/dataplane/messages.ts';
import type { Plan } from '../../src/pipeline/plan.ts';
import type { NetworkNamespace } from '../support/network-namespace.ts';
import { eventually } from '../support/patience.ts';

const PATIENCE_MS = 10_000;

/**
 * Starts a data plane and gives it a plan. Resolves when its devices are open; the process ends with the namespace.
 *
 * @param directory an empty one on tmpfs, for the flow memory and the socket
 */
export async function startDataPlane(
  namespace: NetworkNamespace,
  directory: string,
  plan: Plan,
): Promise<void> {
  const socketPath = join(directory, 'data-plane.sock');
  const child = namespace.spawn(process.execPath, [
    dataPlaneMain(),
    ...formatDataPlaneArguments({
      runtimeDirectory: directory,
      socketPath,
      flowMemoryPath: join(directory, 'flows'),
    }),
  ]);
  let output = '';
  child.stderr.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  const link = await eventually(
    'the data plane listens',
    () => {
      if (child.exitCode !== null) throw new Error(`the data plane has ended: ${output}`);
      return DataPlaneLink.open(socketPath, PATIENCE_MS).catch(() => undefined);
    },
    PATIENCE_MS,
  );
  try {
    await applied(link, plan);
  } finally {
    // It goes on forwarding without control.
    link.close();
  }
}

function applied(link: DataPlaneLink, plan: Plan): Promise<void> {
  return new Promise((resolve, reject) => {
    const problems: string[] = [];
    link.on('close', (reason) => reject(new Error(`the data plane closed the connection: ${reason}`)));
    link.on('message', (message: DataPlaneMessage) => {
      if (message.type === 'log' && message.level !== 'info' && message.level !== 'debug') {
        problems.push(message.msg);
      }
      if (message.type === 'plan-refused') reject(new Error(`the plan was refused: ${message.error}`));
      if (message.type !== 'plan-applied') return;
      if (problems.length > 0) reject(new Error(problems.join('; ')));
      else resolve();
    });
    link.send({ type: 'plan', plan });
  });
}
