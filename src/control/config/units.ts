/**
 * Values with units, as people write them. Every reader returns undefined for what it does not understand;
 * who calls it says what would be right.
 */

const DURATION_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};
const SIZE_BYTES: Readonly<Record<string, number>> = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };

/** `500ms`, `30s`, `10m`, `1h`, `7d`, `1.5h`: whole milliseconds. */
export function readDuration(text: string): number | undefined {
  return readWithUnit(text, DURATION_MS);
}

/** `512B`, `64KiB`, `4MiB`, `1GiB`: whole bytes. */
export function readSize(text: string): number | undefined {
  return readWithUnit(text, SIZE_BYTES);
}

/** `20000/s`: a whole number a second. */
export function readRate(text: string): number | undefined {
  const match = /^(\d{1,9})\/s$/.exec(text);
  return match ? Number(match[1]) : undefined;
}

/** `25%`, `12.5%`: a share, 0 to 1. */
export function readPercent(text: string): number | undefined {
  const match = /^(\d{1,3}(?:\.\d{1,6})?)%$/.exec(text);
  if (!match) return undefined;
  const share = Number(match[1]) / 100;
  return share <= 1 ? share : undefined;
}

function readWithUnit(text: string, units: Readonly<Record<string, number>>): number | undefined {
  const match = /^(\d{1,12}(?:\.\d{1,6})?)([A-Za-z]{1,3})$/.exec(text);
  if (!match || !Object.hasOwn(units, match[2]!)) return undefined;
  const value = Number(match[1]) * units[match[2]!]!;
  return Number.isSafeInteger(value) ? value : undefined;
}
