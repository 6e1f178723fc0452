/** Text in aligned columns, and numbers for people. */
import { visibleWidth } from './terminal.ts';

/** Rows of text in aligned columns, two spaces apart. Colours take up no room. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, at) => {
      widths[at] = Math.max(widths[at] ?? 0, visibleWidth(cell));
    });
  }
  return rows
    .map((row) =>
      row
        .map((cell, at) => cell + ' '.repeat(widths[at]! - visibleWidth(cell)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

const UNITS = ['', 'k', 'M', 'G', 'T', 'P'];

/** `1.23M`: at most three digits, in powers of 1000. */
export function shortNumber(value: number): string {
  let scaled = value;
  let unit = 0;
  while (Math.abs(scaled) >= 999.5 && unit < UNITS.length - 1) {
    scaled /= 1000;
    unit++;
  }
  const digits = unit === 0 ? 0 : scaled < 10 ? 2 : scaled < 100 ? 1 : 0;
  return `${scaled.toFixed(digits)}${UNITS[unit]}`;
}

/** `1 tunnel`, `2 tunnels`. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}
