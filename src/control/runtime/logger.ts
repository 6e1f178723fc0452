/**
 * The log: pino's JSON lines, or on a terminal short lines for people. Secrets and packets never go there.
 *
 * Lines that say the same are limited: some at once, then a few a minute; the next one that passes tells how many were
 * held back (`heldBack`). The same: level, message, and the reason or port or plugin that it is about.
 */
import { type DestinationStream, type Logger, type LoggerOptions as PinoOptions, pino } from 'pino';
import { LogLimiter } from '../../dataplane/log-limiter.ts';

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
  const settings: PinoOptions = { level, base: null, hooks: { logMethod: limiting() } };
  if (!stream.isTTY) return pino(settings, stream as DestinationStream);
  return pino(settings, { write: (line: string) => void stream.write(`${formatForPeople(line)}\n`) });
}

/** What lines may be about, beside their message: each is limited on its own. */
const SUBJECTS: readonly string[] = ['reason', 'port', 'plugin', 'device'];

function limiting(): NonNullable<NonNullable<PinoOptions['hooks']>['logMethod']> {
  const limiter = new LogLimiter();
  return function limit(args, method, level) {
    const [first, second] = args as unknown as readonly unknown[];
    const isObject = typeof first === 'object' && first !== null;
    const fields = (isObject ? first : {}) as Readonly<Record<string, unknown>>;
    const about = SUBJECTS.map((name) => String(fields[name] ?? '')).join(' ');
    const heldBack = limiter.allow(
      `${level} ${String(isObject ? second : first)} ${about}`,
      performance.now() | 0,
    );
    if (heldBack < 0) return;
    if (heldBack === 0 || first instanceof Error) method.apply(this, args);
    else
      method.apply(this, [
        { ...fields, heldBack },
        ...(isObject ? args.slice(1) : args),
      ] as unknown as typeof args);
  };
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
