/**
 * A strict reader of Prometheus' text format 0.0.4, for tests: it takes exactly what homeward may write, and says
 * what is wrong with the rest.
 *
 * Stricter than Prometheus: every family has HELP and TYPE, in that order, right before its samples, which stand
 * together; label names of a family are always the same and in the same order; nothing comes twice; counters end
 * with `_total`, are not negative, and gauges do not end so.
 */

export interface Family {
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  readonly help: string;
  /** Values by labels as JSON: `{"port":"paris-gre"}`. */
  readonly samples: ReadonlyMap<string, number>;
}

const NAME = '[a-zA-Z_:][a-zA-Z0-9_:]*';
const LABEL = '[a-zA-Z_][a-zA-Z0-9_]*';
const NUMBER = /^(?:[+-]?Inf|NaN|[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?)$/;

/** The families by name. Throws an Error that names the line. */
export function parseExposition(text: string): Map<string, Family> {
  const families = new Map<string, Family>();
  if (!text.endsWith('\n')) throw new Error('the last line has no end');
  const lines = text.slice(0, -1).split('\n');
  let samples = new Map<string, number>();
  let current: Family | undefined;
  let labelNames: string | undefined;
  lines.forEach((line, at) => {
    const fail = (what: string): never => {
      throw new Error(`line ${at + 1}: ${what}: ${line}`);
    };
    const help = new RegExp(`^# HELP (${NAME}) (.+)$`).exec(line);
    if (help !== null) {
      if (current !== undefined && samples.size === 0) fail('the family before has no samples');
      if (families.has(help[1]!)) fail('the family was there before');
      const type = new RegExp(`^# TYPE ${help[1]} (counter|gauge)$`).exec(lines[at + 1] ?? '');
      if (type === null) fail('no TYPE follows');
      if (!/^(?:[^\\]|\\[\\n])*$/.test(help[2]!)) fail('a wrong escape');
      samples = new Map();
      labelNames = undefined;
      current = {
        name: help[1]!,
        type: type![1] as Family['type'],
        help: plain(help[2]!),
        samples,
      };
      if ((current.type === 'counter') !== current.name.endsWith('_total')) fail('name and type do not fit');
      families.set(current.name, current);
      return;
    }
    if (line.startsWith('# TYPE ')) {
      if (!lines[at - 1]?.startsWith(`# HELP ${line.split(' ')[2]} `)) fail('no HELP in front');
      return;
    }
    const sample = new RegExp(`^(${NAME})(?:\\{([^\\n]*)\\})? (\\S+)$`).exec(line) ?? fail('no sample');
    const [, name, labels, number] = sample as RegExpExecArray;
    if (current === undefined || name !== current.name) fail('a sample of another family');
    const pairs = parseLabels(labels, fail);
    const names = pairs.map(([label]) => label).join();
    labelNames ??= names;
    if (names !== labelNames) fail(`other labels than ${labelNames}`);
    const key = JSON.stringify(Object.fromEntries(pairs));
    if (samples.has(key)) fail('a sample that was there before');
    if (!NUMBER.test(number!)) fail('no number');
    const value = Number(number!.replace('Inf', 'Infinity'));
    if (current!.type === 'counter' && !(value >= 0)) fail('a counter below zero');
    samples.set(key, value);
  });
  if (current !== undefined && samples.size === 0) throw new Error('the last family has no samples');
  return families;
}

function parseLabels(text: string | undefined, fail: (what: string) => never): [string, string][] {
  if (text === undefined) return [];
  if (text === '') fail('empty braces');
  const pairs: [string, string][] = [];
  const pattern = new RegExp(`(${LABEL})="((?:[^"\\\\\\n]|\\\\[\\\\"n])*)"(,|$)`, 'y');
  while (pattern.lastIndex < text.length) {
    const match = pattern.exec(text);
    if (match === null) return fail('wrong labels');
    if (match[1]!.startsWith('__')) fail('a reserved label');
    if (pairs.some(([name]) => name === match[1])) fail('a label twice');
    if (match[3] === ',' && pattern.lastIndex === text.length) fail('a comma at the end');
    pairs.push([match[1]!, plain(match[2]!)]);
  }
  return pairs;
}

function plain(text: string): string {
  return text.replace(/\\([\\"n])/g, (_, character: string) => (character === 'n' ? '\n' : character));
}
