/**
 * Checks options by hand, because the data plane has no package for it: every problem with its path, all of them
 * in one error.
 */
import { type OptionsFinding, PluginOptionsError } from '../../src/plugin/contract.ts';
import { didYouMean, ExpressionError } from './tokens.ts';

/** More than these are not told: one mistake in a list of thousands is a thousand problems. */
const MOST_PROBLEMS = 20;

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What is wrong with options, in the order in which it was found. */
export class Problems {
  private readonly found: OptionsFinding[] = [];
  count = 0;

  /** The first of them. */
  get findings(): readonly OptionsFinding[] {
    return this.found;
  }

  /** `path` is empty for the options as a whole. */
  add(path: string, message: string): void {
    this.count++;
    if (this.count <= MOST_PROBLEMS) this.found.push({ path, message });
  }

  /** Calls `read`; an {@link ExpressionError} becomes a problem, behind `place`, and the answer undefined. */
  attempt<T>(path: string, read: () => T, place = ''): T | undefined {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof ExpressionError)) throw error;
      this.add(path, place + error.message);
      return undefined;
    }
  }

  /** @throws PluginOptionsError for the first problem; the others follow in its message, a line each */
  throwIfAny(): void {
    const [first, ...others] = this.found;
    if (first === undefined) return;
    const lines = others.map(({ path, message }) => (path === '' ? message : `${path}: ${message}`));
    const more = this.count - this.found.length;
    if (more > 0) lines.push(`and ${more} more`);
    throw new PluginOptionsError(first.path, [first.message, ...lines].join('\n'));
  }
}

/** Reads the keys of one mapping. */
export class Mapping {
  readonly path: string;
  private readonly value: Readonly<Record<string, unknown>>;
  private readonly problems: Problems;

  /** Unknown keys are problems, and so is a value that is no mapping, which is read as an empty one. */
  constructor(value: unknown, path: string, keys: readonly string[], problems: Problems) {
    this.path = path;
    this.problems = problems;
    this.value = isRecord(value) ? value : {};
    if (!isRecord(value)) {
      problems.add(path, 'a mapping should stand here');
    }
    for (const key of Object.keys(this.value)) {
      if (!keys.includes(key)) {
        const hint = didYouMean(key, keys) || `; there are ${keys.join(', ')}`;
        problems.add(this.at(key), `there is no such option${hint}`);
      }
    }
  }

  at(key: string): string {
    return this.path === '' ? key : `${this.path}.${key}`;
  }

  has(key: string): boolean {
    return this.value[key] !== undefined;
  }

  get(key: string): unknown {
    return this.value[key];
  }

  /** One of `choices`; `otherwise` if it is not there. */
  choice<Choice extends string>(key: string, choices: readonly Choice[], otherwise: Choice): Choice {
    const value = this.value[key];
    if (value === undefined) return otherwise;
    if (choices.includes(value as Choice)) return value as Choice;
    const hint = typeof value === 'string' ? didYouMean(value, choices) : '';
    this.problems.add(
      this.at(key),
      `${JSON.stringify(value)} stands where one of ${choices.join(', ')} should${hint}`,
    );
    return otherwise;
  }

  boolean(key: string, otherwise: boolean): boolean {
    const value = this.value[key];
    if (value === undefined) return otherwise;
    if (typeof value === 'boolean') return value;
    this.problems.add(this.at(key), `${JSON.stringify(value)} stands where true or false should`);
    return otherwise;
  }

  /** A whole number of this range; undefined if it is not there, or wrong. */
  whole(key: string, least: number, most: number): number | undefined {
    const value = this.value[key];
    if (value === undefined) return undefined;
    if (Number.isInteger(value) && (value as number) >= least && (value as number) <= most) {
      return value as number;
    }
    this.problems.add(
      this.at(key),
      `${JSON.stringify(value)} stands where a whole number from ${least} to ${most} should`,
    );
    return undefined;
  }

  text(key: string): string | undefined {
    const value = this.value[key];
    if (value === undefined) return undefined;
    if (typeof value === 'string' && value !== '') return value;
    this.problems.add(this.at(key), `${JSON.stringify(value)} stands where a text should`);
    return undefined;
  }

  list(key: string): readonly unknown[] {
    const value = this.value[key];
    if (value === undefined) return [];
    if (Array.isArray(value)) return value;
    this.problems.add(this.at(key), 'a list should stand here');
    return [];
  }

  /** Keys and values of a mapping below this one. */
  entries(key: string): readonly (readonly [name: string, value: unknown])[] {
    const value = this.value[key];
    if (value === undefined) return [];
    if (isRecord(value)) return Object.entries(value);
    this.problems.add(this.at(key), 'a mapping should stand here');
    return [];
  }
}
