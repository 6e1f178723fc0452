/**
 * What differs between a terminal and a pipe: colours, which a pipe, `NO_COLOR` (no-color.org) and `--no-color`
 * switch off, and questions, which only somebody at a terminal can answer.
 */
import { createInterface } from 'node:readline/promises';
import { stripVTControlCharacters, styleText } from 'node:util';

export type Style = 'red' | 'green' | 'yellow' | 'dim' | 'bold' | 'inverse';

/** The text in a style, if the standard output shows styles. */
export function paint(style: Style, text: string): string {
  return styleText(style, text, { stream: process.stdout, validateStream: true });
}

const STATE_STYLES: Readonly<Record<string, Style>> = {
  up: 'green',
  running: 'green',
  forwarding: 'green',
  healthy: 'green',
  down: 'red',
  tripped: 'red',
  degraded: 'yellow',
  connecting: 'yellow',
  configured: 'yellow',
  waiting: 'yellow',
  disabled: 'dim',
  unknown: 'yellow',
};

/** A state word in its colour. */
export function paintState(state: string): string {
  const style = STATE_STYLES[state];
  return style === undefined ? state : paint(style, state);
}

/** Columns that a text takes up. */
export function visibleWidth(text: string): number {
  return stripVTControlCharacters(text).length;
}

/** Whether somebody is there to answer questions. */
export function canAsk(): boolean {
  return process.stdin.isTTY === true && process.stderr.isTTY === true;
}

/**
 * Asks on the standard error, so that the output stays clean; asks again until `check` has nothing to say against
 * the answer.
 *
 * @param fallback what an empty answer means; without it an empty answer is asked for again
 */
export async function ask(
  question: string,
  check: (answer: string) => string | undefined,
  fallback?: string,
): Promise<string> {
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    for (;;) {
      const suffix = fallback === undefined || fallback === '' ? '' : ` [${fallback}]`;
      const answer = (await lines.question(`${question}${suffix}: `)).trim() || fallback;
      if (answer === undefined) continue;
      const problem = check(answer);
      if (problem === undefined) return answer;
      process.stderr.write(`${problem}\n`);
    }
  } finally {
    lines.close();
  }
}
