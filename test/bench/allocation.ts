/** How many bytes of heap the established path takes for each packet: see `allocation-child.ts`. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { RigProtocol } from './pipeline-rig.ts';

const CHILD = fileURLToPath(new URL('allocation-child.ts', import.meta.url));
const STREAM_CHILD = fileURLToPath(new URL('stream-allocation-child.ts', import.meta.url));
const FLAGS = ['--expose-gc', '--min-semi-space-size=64', '--max-semi-space-size=64'];

export async function allocatedPerPacket(protocol: RigProtocol): Promise<number> {
  const { stdout } = await promisify(execFile)(process.execPath, [...FLAGS, CHILD, protocol]);
  return Number(stdout);
}

/** The same for a segment in order, of a stream that a plugin reads. */
export async function allocatedPerSegment(): Promise<number> {
  const { stdout } = await promisify(execFile)(process.execPath, [...FLAGS, STREAM_CHILD]);
  return Number(stdout.split(' ')[0]);
}
