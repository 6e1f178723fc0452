/**
 * Numbered datagrams from sites' hosts to the data centre and back, at a steady rate, while a test does something: what
 * was lost, and for how long nothing came. The TypeScript end of `bench/native/udp-numbers.c`.
 */
import type { ChildProcess } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { compileProgram } from '../../bench/native-programs.ts';
import type { Lab } from '../lab.ts';
import { DATA_CENTER_ADDRESSES, SITE_ADDRESSES } from './sites.ts';

/** Longer than any run; it is ended when the test is done. */
const MOST_SECONDS = 600;
const ECHO_PORT = '9000';
const SOURCE_PORT = '9001';
const MOST_TOKEN_CHARACTERS = 23;

/** What came back to one sender. */
export interface DatagramOutcome {
  readonly sent: number;
  readonly lost: number;
  readonly wrong: number;
  readonly duplicates: number;
  readonly longestGapMs: number;
}

export class NumberedDatagrams {
  private readonly lab: Lab;
  private readonly program: string;

  private constructor(lab: Lab, program: string) {
    this.lab = lab;
    this.program = program;
  }

  /** Starts the answering end. */
  static async start(lab: Lab): Promise<NumberedDatagrams> {
    const program = compileProgram(lab.directory, 'udp-numbers');
    await ready(lab.spawn('datacenter', program, ['echo', DATA_CENTER_ADDRESSES[0], ECHO_PORT]));
    return new NumberedDatagrams(lab, program);
  }

  /** Sends from all sites, so many a second from each, while `meanwhile` runs. */
  async during<Site extends string>(
    rates: Readonly<Record<Site, number>>,
    meanwhile: () => Promise<void>,
  ): Promise<Record<Site, DatagramOutcome>> {
    const sites = Object.keys(rates) as Site[];
    const senders = sites.map((site) =>
      this.lab.spawn(site, this.program, [
        ...['send', SITE_ADDRESSES[0], SOURCE_PORT, DATA_CENTER_ADDRESSES[0], ECHO_PORT],
        ...[String(rates[site]), String(MOST_SECONDS)],
        `${site}-${this.lab.prefix}`.slice(0, MOST_TOKEN_CHARACTERS),
      ]),
    );
    await Promise.all(senders.map(ready));
    await meanwhile();
    const outcomes = await Promise.all(senders.map(outcomeOf));
    return Object.fromEntries(sites.map((site, at) => [site, outcomes[at]!])) as Record<
      Site,
      DatagramOutcome
    >;
  }
}

/** Waits until the program has opened everything. */
async function ready(child: ChildProcess): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    let said = '';
    child.stdout!.on('readable', function onReadable() {
      said += child.stdout!.read(6 - said.length)?.toString() ?? '';
      if (said !== 'ready\n') return;
      child.stdout!.off('readable', onReadable);
      resolve();
    });
    child.once('close', (status) => reject(new Error(`the program has ended with ${status}`)));
  });
}

/** Ends the sending; what came of it. */
async function outcomeOf(child: ChildProcess): Promise<DatagramOutcome> {
  child.kill('SIGTERM');
  const line = await text(child.stdout!);
  const [sent, received, wrong, duplicates, longestGapMs] = line.trim().split(' ').map(Number);
  return {
    sent: sent!,
    lost: sent! - received!,
    wrong: wrong!,
    duplicates: duplicates!,
    longestGapMs: longestGapMs!,
  };
}
