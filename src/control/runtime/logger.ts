/**
 * The log: pino's JSON lines, or on a terminal short lines for people. Secrets and packets never go there.
 */
import { type DestinationStream, type Logger, pino } from 'pino';

export type { Logger };

const LEVEL_NAMES: Readonly<Record<number, string>> = {
  10: 'trace',
  20: 'debug',
  30: 'info',
  40: 'warn',
  50: 'error',
  60: 'fatal',
};

/** Where log lines go and how they look. */
export interface LoggerOptions {
  /** Default `info`. */
  readonly level?: string;
  /** Default: the standard error. */
  readonly stream?: NodeJS.WritableStream & { readonly isTTY?: boolean };
}

/** A logger; pretty if and only if its stream is a terminal. */
export function createLogger(options: LoggerOptions = {}): Logger {
  const stream = options.stream ?? process.stderr;
  const level = options.level ?? 'info';
  if (!stream.isTTY) return pino({ level, base: null }, stream as DestinationStream);
  return pino(
    { level, base: null },
    { write: (line: string) => void stream.write(`${formatForPeople(line)}\n`) },
  );
}

/** `12:34:56 warn  tunnel is down  port=lyon-ic`, from pino's JSON line. */
export function formatForPeople(line: string): string {
  const { level, time, msg, ...fields } = JSON.parse(line) as Record<string, unknown>;
  const clock = new Date(Number(time)).toTimeString().slice(0, 8);
  const rest = Object.entries(fields).map(
    ([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  const name = LEVEL_NAMES[Number(level)] ?? String(level);
  return [`${clock} ${name.padEnd(5)} ${String(msg ?? '')}`, ...rest].join('  ');
}
