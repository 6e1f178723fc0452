import { createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { Args, Flags } from '@oclif/core';
import { type CaptureQuery, CaptureSummary, capturePackets } from '../../api/client/captures.ts';
import { HomewardCommand } from '../command.ts';
import { CONNECTION_FLAGS } from '../connection.ts';
import { cliServices } from '../services.ts';
import { counted } from '../table.ts';
import { wrongUsage } from '../wrong-usage.ts';

/** How often a terminal is told how far it is. */
const PROGRESS_MS = 500;

interface CaptureOutcome {
  /** By tunnel, filter and so on. */
  readonly matched: number;
  /** Of these, those that are in the file. */
  readonly captured: number;
  /** And those that are not, because whoever reads was slow. */
  readonly lost: number;
  readonly ended: string;
}

export default class Capture extends HomewardCommand {
  static override summary = 'Capture packets as tunnels and egresses receive and send them, as pcapng.';
  static override description =
    `A packet that is forwarded is captured twice: as it came in, and as it left, translated. Comments tell the
flow, and why a packet was dropped. Interfaces are tunnels and egresses; outer headers are not captured.

The filter is an expression as tcpdump has it: host, net, port, portrange, proto, src, dst, tcp, udp, icmp,
icmp6, sctp, ip, ip6, less, greater, tcp[tcpflags] & tcp-syn != 0, and, or, not, parentheses.

Ctrl-C ends it. Packets that come faster than they can be written are missing in the capture and counted; no
forwarded packet is lost for that.`;
  static override examples = [
    '<%= config.bin %> capture --tunnel paris-gre -c 100 -o paris.pcapng',
    "<%= config.bin %> capture --tunnel paris-gre --filter 'host 10.0.1.20 and tcp port 443' -o - | tshark -r -",
    '<%= config.bin %> capture --dropped -o drops.pcapng --duration 1m',
    '<%= config.bin %> capture --dropped no_route,tuple_collision -o -',
    '<%= config.bin %> capture --flow 4711 --snaplen 128 -o flow.pcapng',
  ];
  static override args = {
    reason: Args.string({
      description: 'With --dropped: only packets dropped for this reason, or for one of these (a,b,c).',
    }),
  };
  static override flags = {
    output: Flags.string({
      char: 'o',
      helpValue: 'FILE|-',
      summary: 'Write there; - is the standard output.',
      required: true,
    }),
    tunnel: Flags.string({ helpValue: 'NAME', summary: 'This tunnel; may be repeated.', multiple: true }),
    egress: Flags.string({ helpValue: 'NAME', summary: 'This egress; may be repeated.', multiple: true }),
    filter: Flags.string({ char: 'f', helpValue: 'EXPRESSION', summary: 'Only packets that match.' }),
    dropped: Flags.boolean({ summary: 'Only packets that are dropped, frames of no tunnel included.' }),
    flow: Flags.integer({ helpValue: 'ID', summary: 'Only packets of this flow.', min: 1 }),
    exact: Flags.boolean({
      summary: 'Only where a packet matches by itself: not also what it was before or became afterwards.',
    }),
    count: Flags.integer({ char: 'c', helpValue: 'N', summary: 'End after so many packets.', min: 1 }),
    duration: Flags.string({ helpValue: 'DURATION', summary: 'End after so long; by default after 1h.' }),
    bytes: Flags.string({ helpValue: 'SIZE', summary: 'End when the file is so long; by default 1GiB.' }),
    snaplen: Flags.integer({ helpValue: 'BYTES', summary: 'Keep so much of each packet.', min: 1 }),
    ...CONNECTION_FLAGS,
  };

  async run(): Promise<CaptureOutcome> {
    const { args, flags } = await this.parse(Capture);
    if (args.reason !== undefined && !flags.dropped) {
      throw wrongUsage(
        `"${args.reason}" stands alone; a drop reason stands behind --dropped, an expression behind --filter`,
      );
    }
    if (flags.output === '-' && this.jsonEnabled()) throw wrongUsage('--json needs a file as --output');
    const query: CaptureQuery = {
      tunnels: flags.tunnel,
      egresses: flags.egress,
      filter: flags.filter,
      dropped: flags.dropped ? (args.reason?.split(',') ?? []) : undefined,
      flow: flags.flow,
      exact: flags.exact || undefined,
      snaplen: flags.snaplen,
      count: flags.count,
      bytes: amount(
        'bytes',
        flags.bytes,
        cliServices().readSize,
        'a size above zero; write one such as 64MiB',
      ),
      seconds: inSeconds(
        amount(
          'duration',
          flags.duration,
          cliServices().readDuration,
          'a duration above zero; write one such as 30s',
        ),
      ),
    };
    const client = await this.connect(flags);
    const interrupted = new AbortController();
    const interrupt = (): void => interrupted.abort();
    process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
    try {
      const parts = await capturePackets(client, query, interrupted.signal);
      const outcome = await this.#write(parts, flags.output, interrupted.signal);
      const { matched, captured, lost, ended } = outcome;
      process.stderr.write(`${ended[0]!.toUpperCase()}${ended.slice(1)}.\n`);
      process.stderr.write(
        `${counted(matched, 'packet')} matched, ${captured} captured, ${lost} lost because the reader was slow.\n`,
      );
      return outcome;
    } finally {
      process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
    }
  }

  async #write(
    parts: AsyncIterable<Buffer>,
    output: string,
    interrupted: AbortSignal,
  ): Promise<CaptureOutcome> {
    const summary = new CaptureSummary();
    // Payloads are nobody else's to read.
    const sink = output === '-' ? process.stdout : createWriteStream(output, { mode: 0o600 });
    const progress =
      process.stderr.isTTY && output !== '-' ? setInterval(() => tell(summary), PROGRESS_MS) : undefined;
    let ended = 'interrupted';
    try {
      await pipeline(parts, counting(summary), sink, { end: output !== '-' });
      // A file without an interface has no place to say why it ended.
      ended = 'the capture has ended';
    } catch (error) {
      // Ctrl-C, or a reader that has seen enough.
      const { code, path } = error as NodeJS.ErrnoException;
      if (!interrupted.aborted && code !== 'EPIPE') {
        throw path === output ? new Error(`${output} cannot be written: ${(error as Error).message}`) : error;
      }
    } finally {
      clearInterval(progress);
      if (progress !== undefined) process.stderr.write('\r\u001b[K');
    }
    if (summary.ended !== '') ended = summary.ended;
    const { packets, lost } = summary;
    return { matched: packets + lost, captured: packets, lost, ended };
  }
}

/** Passes parts on, and counts what is in them. */
function counting(summary: CaptureSummary): (parts: AsyncIterable<Buffer>) => AsyncGenerator<Buffer> {
  return async function* (parts) {
    for await (const part of parts) {
      summary.add(part);
      yield part;
    }
  };
}

function tell({ packets, lost }: CaptureSummary): void {
  process.stderr.write(`\r\u001b[K${packets} captured${lost === 0 ? '' : `, ${lost} lost`}`);
}

function amount(
  flag: string,
  text: string | undefined,
  read: (text: string) => number | undefined,
  wanted: string,
): number | undefined {
  if (text === undefined) return undefined;
  const value = read(text);
  if (value === undefined || value <= 0) throw wrongUsage(`--${flag}: ${text} is not ${wanted}`);
  return value;
}

function inSeconds(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : Math.ceil(ms / 1000);
}
