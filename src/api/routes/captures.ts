/** Captures: packets as pcapng, as they pass. */
import * as z from 'zod';
import { RequestError } from '../../control/request-error.ts';
import type { Api } from '../operation.ts';
import { flag, nameParameter, wholeNumber } from '../schemas/parameters.ts';

const MAX_SNAP_BYTES = 262_144;
const MAX_PACKETS = 1_000_000_000;
const MAX_BYTES = 2 ** 40;
const MAX_SECONDS = 30 * 86_400;
/** Bounds of a capture that asks for none. */
const DEFAULT_BYTES = 2 ** 30;
const DEFAULT_SECONDS = 3600;

const MAX_NAMES = 64;

const nameList = z
  .string()
  .transform((text) => text.split(','))
  .pipe(z.array(nameParameter).max(MAX_NAMES))
  .meta({ examples: ['paris-gre,paris-ipsec'] });

export function captureRoutes(api: Api): void {
  api.stream({
    method: 'GET',
    path: '/v1/capture',
    id: 'capturePackets',
    summary: 'Packets as ports receive and send them, as pcapng',
    description:
      'A packet that is forwarded is there twice: as it came, and as it left. Comments tell its flow, and why it was dropped. The capture ends by itself at its limits, and when the client goes away; packets that the client is too slow for are lost to the capture, and counted in the statistics at its end.',
    // Payloads are nobody else's to read.
    role: 'admin',
    query: {
      tunnel: nameList.optional().describe('Names of tunnels, separated by commas.'),
      egress: nameList
        .optional()
        .describe('Names of egresses, separated by commas. With neither tunnels nor egresses: everything.'),
      filter: z.string().max(4096).default('').describe('An expression in the language of pcap filters.'),
      dropped: z
        .string()
        .max(4096)
        .optional()
        .describe('Only dropped packets: `any`, or names of drop reasons, separated by commas.'),
      flow: wholeNumber(1, 0xffffffff).optional().describe('Only packets of this flow.'),
      exact: flag.describe(
        'Only where a packet matches by itself: not also what it was before or became afterwards.',
      ),
      snaplen: wholeNumber(1, MAX_SNAP_BYTES).optional().describe('Bytes of each packet, at most.'),
      count: wholeNumber(1, MAX_PACKETS).optional().describe('End after so many packets.'),
      bytes: wholeNumber(1, MAX_BYTES)
        .optional()
        .describe(`End when the file has so many bytes; default ${DEFAULT_BYTES}.`),
      seconds: wholeNumber(1, MAX_SECONDS)
        .optional()
        .describe(`End after so many seconds; default ${DEFAULT_SECONDS}.`),
    },
    contentType: 'application/x-pcapng',
    answerDescription: 'A capture file, written as it grows.',
    handle: async ({ query, signal }, control) => {
      const stream = await control.captures.start({
        tunnels: query.tunnel ?? [],
        egresses: query.egress ?? [],
        filter: query.filter,
        dropped: droppedReasons(query.dropped),
        flow: query.flow,
        exact: query.exact,
        snapBytes: query.snaplen ?? MAX_SNAP_BYTES,
        limits: {
          packets: query.count ?? Number.POSITIVE_INFINITY,
          bytes: query.bytes ?? DEFAULT_BYTES,
          durationMs: (query.seconds ?? DEFAULT_SECONDS) * 1000,
        },
      });
      const stop = (): void => stream.finish('the gateway is being stopped');
      if (signal.aborted) stop();
      else signal.addEventListener('abort', stop, { once: true });
      return stream;
    },
  });
}

function droppedReasons(text: string | undefined): readonly string[] | undefined {
  if (text === undefined) return undefined;
  if (text === 'any') return [];
  const names = text.split(',');
  if (names.length > MAX_NAMES) {
    throw new RequestError('invalid', 'no_such_reason', `more than ${MAX_NAMES} drop reasons; write any`);
  }
  return names;
}
