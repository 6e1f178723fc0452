/**
 * What is wrong with a configuration, said so that it can be put right: one line a problem,
 *
 * ```
 * FILE:LINE:COLUMN: path.to.key: VALUE is wrong because of this; this would be right
 * ```
 *
 * Neighbours: `load.ts` and `compile/` throw {@link ConfigError}; the CLI prints its lines and exits with 2.
 */

/** One finding. Line and column count from 1. */
export interface Problem {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  /** `sites.paris.prefixes[0]`; empty for the file as a whole. */
  readonly path: string;
  /** What is wrong, and after a semicolon what would be right. */
  readonly text: string;
  /** Of a notice that somebody may say at more length: what it is about. */
  readonly topic?: 'ambiguity';
}

/** The one line of a problem. */
export function formatProblem(problem: Problem): string {
  const where = `${problem.file}:${problem.line}:${problem.column}`;
  return problem.path === '' ? `${where}: ${problem.text}` : `${where}: ${problem.path}: ${problem.text}`;
}

/** A configuration that cannot be used; `problems` has every reason that was found, in the file's order. */
export class ConfigError extends Error {
  readonly code = 'config_invalid';
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    const sorted = [...problems].sort((a, b) => a.line - b.line || a.column - b.column);
    super(sorted.map(formatProblem).join('\n'));
    this.name = 'ConfigError';
    this.problems = sorted;
  }
}
