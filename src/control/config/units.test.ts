import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readDuration, readPercent, readRate, readSize } from './units.ts';

test('durations are milliseconds', () => {
  const cases: [string, number | undefined][] = [
    ['0s', 0],
    ['500ms', 500],
    ['30s', 30_000],
    ['10m', 600_000],
    ['1h', 3_600_000],
    ['1.5h', 5_400_000],
    ['7d', 604_800_000],
    ['0.0001s', undefined],
    ['30', undefined],
    ['30 s', undefined],
    ['-1s', undefined],
    ['1e3s', undefined],
    ['10M', undefined],
    ['1toString', undefined],
    ['', undefined],
    ['999999999999d', undefined],
  ];
  for (const [text, expected] of cases) assert.equal(readDuration(text), expected, text);
});

test('sizes are bytes, in binary units only', () => {
  const cases: [string, number | undefined][] = [
    ['512B', 512],
    ['64KiB', 65_536],
    ['4MiB', 4_194_304],
    ['1.5GiB', 1_610_612_736],
    ['64KB', undefined],
    ['64k', undefined],
    ['64', undefined],
    ['0.3B', undefined],
  ];
  for (const [text, expected] of cases) assert.equal(readSize(text), expected, text);
});

test('rates are per second', () => {
  const cases: [string, number | undefined][] = [
    ['20000/s', 20_000],
    ['0/s', 0],
    ['1.5/s', undefined],
    ['20000', undefined],
    ['20000/m', undefined],
    ['9999999999/s', undefined],
  ];
  for (const [text, expected] of cases) assert.equal(readRate(text), expected, text);
});

test('percentages are shares', () => {
  const cases: [string, number | undefined][] = [
    ['25%', 0.25],
    ['12.5%', 0.125],
    ['0%', 0],
    ['100%', 1],
    ['100.1%', undefined],
    ['25', undefined],
    ['-1%', undefined],
  ];
  for (const [text, expected] of cases) assert.equal(readPercent(text), expected, text);
});
