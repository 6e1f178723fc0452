/**
 * Figures and bars: what was measured, beside what was promised.
 *
 * A figure compares homeward with one reference (the C loop, the kernel), measured in turn in every round, or stands
 * alone. Its bar is about the median, about the lower end of the interval, or about both.
 */
import type { PipelineFigure } from './pipeline-measures.ts';
import { type Interval, medianInterval } from './statistics.ts';

export interface Bar {
  readonly medianLeast?: number;
  readonly lowLeast?: number;
  readonly medianMost?: number;
}

export interface Figure {
  /** `tun`, `ethernet`, `gre`, `pipeline` or `firewall`. */
  readonly group: string;
  readonly name: string;
  /** `ratio`: homeward / reference; `difference`: homeward - reference; `value`: homeward alone. */
  readonly kind: 'ratio' | 'difference' | 'value';
  readonly unit: string;
  /** Median of homeward and of the reference, in `unit`. */
  readonly homeward: number;
  readonly reference?: { readonly name: string; readonly value: number };
  /** Of the ratio, the difference or the value. */
  readonly interval: Interval;
  readonly bar: Bar | null;
  /** Null without a bar. */
  readonly met: boolean | null;
}

/** One quantity of one group in every round, by variant. */
export interface Samples {
  readonly group: string;
  readonly name: string;
  readonly unit: string;
  readonly byVariant: ReadonlyMap<string, readonly number[]>;
}

/** Compares homeward with one of the other variants, round by round. */
export function compare(
  samples: Samples,
  reference: string,
  kind: 'ratio' | 'difference',
  bar: Bar | null,
): Figure {
  const own = samples.byVariant.get('homeward')!;
  const others = samples.byVariant.get(reference)!;
  const pairs = own.map((value, round) => (kind === 'ratio' ? value / others[round] : value - others[round]));
  const interval = medianInterval(pairs);
  return {
    group: samples.group,
    name: samples.name,
    kind,
    unit: samples.unit,
    homeward: medianInterval(own).median,
    reference: { name: reference, value: medianInterval(others).median },
    interval,
    bar,
    met: bar === null ? null : isMet(interval, bar),
  };
}

/** A figure of the pipeline alone, or of something in it. */
export function alone({ name, value, unit, bar }: PipelineFigure, group = 'pipeline'): Figure {
  const interval = { median: value, low: value, high: value };
  const given: Bar | null =
    bar.most !== undefined
      ? { medianMost: bar.most }
      : bar.least !== undefined
        ? { medianLeast: bar.least }
        : null;
  return {
    group,
    name,
    kind: 'value',
    unit,
    homeward: value,
    interval,
    bar: given,
    met: given === null ? null : isMet(interval, given),
  };
}

/** The figures as a table for people. */
export function formatFigures(figures: readonly Figure[]): string {
  const rows = [
    ['', 'homeward', 'reference', '', 'compared', '95 %', 'bar', ''],
    ...figures.map((figure) => [
      `${figure.group}: ${figure.name}`,
      `${digits(figure.homeward)} ${figure.unit}`,
      figure.reference === undefined ? '' : digits(figure.reference.value),
      figure.reference?.name ?? '',
      figure.kind === 'value' ? '' : digits(figure.interval.median),
      figure.kind === 'value' ? '' : `${digits(figure.interval.low)} .. ${digits(figure.interval.high)}`,
      figure.bar === null ? '' : formatBar(figure.bar),
      figure.met === null ? '' : figure.met ? 'met' : 'NOT MET',
    ]),
  ];
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function isMet(interval: Interval, bar: Bar): boolean {
  return (
    (bar.medianLeast === undefined || interval.median >= bar.medianLeast) &&
    (bar.lowLeast === undefined || interval.low >= bar.lowLeast) &&
    (bar.medianMost === undefined || interval.median <= bar.medianMost)
  );
}

function formatBar(bar: Bar): string {
  const parts: string[] = [];
  if (bar.medianLeast !== undefined) parts.push(`>= ${bar.medianLeast}`);
  if (bar.lowLeast !== undefined) parts.push(`low >= ${bar.lowLeast}`);
  if (bar.medianMost !== undefined) parts.push(`<= ${bar.medianMost}`);
  return parts.join(', ');
}

function digits(value: number): string {
  const magnitude = Math.abs(value);
  return value.toFixed(magnitude >= 1000 ? 0 : magnitude >= 100 ? 1 : 2);
}
