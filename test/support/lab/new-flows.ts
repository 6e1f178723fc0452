/** Many new flows a second in the lab: the TypeScript end of `new_flows.py`. */
import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { Lab } from '../lab.ts';
import { ECHO_PORT } from './network.ts';
import { DATA_CENTER_ADDRESSES, SITE_ADDRESSES } from './sites.ts';

const PROGRAM = join(import.meta.dirname, 'new_flows.py');
/** Ports that nobody else in the lab uses begin here. */
export const FIRST_PORT = 30_000;

export interface NewFlows {
  readonly begun: number;
  readonly answered: number;
  /** Of those that sent once more at the end. */
  readonly again: number;
  readonly answeredAgain: number;
  /** Answers to somebody else. */
  readonly foreign: number;
}

/**
 * Begins flows from a site's host to the data centre's echo server; resolves to what came of them.
 *
 * @param firstPort source ports are counted up from here: those of a minute ago would be flows that are there already
 */
export async function sendNewFlows(
  lab: Lab,
  site: string,
  rate: number,
  seconds: number,
  firstPort = FIRST_PORT,
): Promise<NewFlows> {
  if (firstPort + rate * seconds > 65_536) throw new RangeError('there are not so many ports');
  const ends = [SITE_ADDRESSES[0], DATA_CENTER_ADDRESSES[0], String(ECHO_PORT)];
  const pattern = [firstPort, rate, seconds].map(String);
  return outcomeOf(lab.spawn(site, 'python3', [PROGRAM, site, ...ends, ...pattern]));
}

async function outcomeOf(child: ChildProcess): Promise<NewFlows> {
  const [output, errors] = await Promise.all([text(child.stdout!), text(child.stderr!)]);
  const line = output.trim().split('\n').at(-1)!;
  if (!line.startsWith('{')) throw new Error(`new_flows.py: ${errors}`);
  return JSON.parse(line);
}
