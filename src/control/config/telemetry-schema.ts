/**
 * The part of the configuration file that says what homeward tells of itself: metrics, the flow log, its own log.
 * `schema.ts` puts it into the whole; docs/metrics.md and docs/flow-logs.md describe it.
 */
import { formatAddress, parseAddress } from '../../wire/address.ts';
import { IPV6 } from '../../wire/packet.ts';
import type { SocketAddress } from './config.ts';
import { found, integer, map, mismatch, oneOf, type Reading, show, text } from './leaves.ts';
import { readDuration, readRate, readSize } from './units.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

/** `192.0.2.1:4739`, `[2001:db8::1]:4739`. */
function socketAddress(example: string) {
  return text(
    { what: 'an address and a port', write: `one such as ${example} or [::1]:${example.split(':').at(-1)}` },
    (value): Reading<SocketAddress> | undefined => {
      const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):(\d{1,5})$/.exec(value);
      if (!match) return undefined;
      const address = parseAddress(match[1] ?? match[2]!);
      const port = Number(match[3]);
      const isBracketed = match[1] !== undefined;
      if (!address || isBracketed !== (address.family === IPV6) || port < 1 || port > 65535) return undefined;
      return { value: { address: formatAddress(address), port } };
    },
  );
}

function size(min: number, max: number, example: string) {
  return text({ what: 'a size', write: `one such as ${example}` }, (value): Reading<number> | undefined => {
    const bytes = readSize(value);
    if (bytes === undefined) return undefined;
    if (bytes >= min && bytes <= max) return { value: bytes };
    return { problem: `${show(value)} is not usable; write a size from ${min} to ${max} bytes` };
  });
}

function duration(minMs: number, maxMs: number, example: string) {
  return text(
    { what: 'a duration', write: `one such as ${example}` },
    (value): Reading<number> | undefined => {
      const durationMs = readDuration(value);
      if (durationMs === undefined) return undefined;
      if (durationMs >= minMs && durationMs <= maxMs) return { value: durationMs };
      return { problem: `${show(value)} is not usable; write from ${minMs / 1000}s to ${maxMs / 1000}s` };
    },
  );
}

const filePath = text(
  { what: 'an absolute path of a file', write: 'one such as /var/log/homeward/flows.jsonl' },
  (value) =>
    found(/^\/(?:.*[^/])?$/.test(value) && value !== '/' && !value.includes('\0') ? value : undefined),
);

export const metrics = map('metrics settings', {
  listen: socketAddress('127.0.0.1:9550').nullable().default(null),
});

const rotate = map('rotation settings', {
  size: size(64 * KIB, 1024 * 1024 * MIB, '64MiB').default(64 * MIB),
  keep: integer(1, 1000).default(10),
});

const ipfix = map('IPFIX settings', {
  collector: socketAddress('192.0.2.50:4739'),
  transport: oneOf(['udp', 'tcp']).default('udp'),
  observation_domain: integer(0, 4294967295).default(1),
  template_interval: duration(1000, 3_600_000, '60s').default(60_000),
  max_message: size(512, 65535, '1400B').default(1400),
});

const rate = text({ what: 'a rate', write: 'a whole number per second such as 100/s' }, (value) => {
  const perSecond = readRate(value);
  return found(perSecond === undefined || perSecond < 1 || perSecond > 1_000_000 ? undefined : perSecond);
});

export const flowLog = map('flow log settings', {
  file: filePath.optional(),
  rotate: rotate.prefault({}),
  ipfix: ipfix.optional(),
  refusals: oneOf(['none', 'policy', 'all']).default('policy'),
  refusal_rate: rate.default(100),
}).superRefine((value, context) => {
  if (value.file !== undefined || value.ipfix !== undefined) return;
  context.addIssue({
    code: 'custom',
    message: mismatch(undefined, { what: 'a destination', write: 'file, ipfix or both' }),
  });
});

export const log = map('log settings', {
  level: oneOf(['trace', 'debug', 'info', 'warn', 'error']).default('info'),
});
