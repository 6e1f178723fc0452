/** Collects problems and notices while a configuration is checked or compiled. */
import type { ConfigPath, ConfigSource } from './config.ts';
import { ConfigError, type Problem } from './errors.ts';

export class Findings {
  readonly #source: ConfigSource;
  readonly problems: Problem[] = [];
  readonly notices: Problem[] = [];

  constructor(source: ConfigSource) {
    this.#source = source;
  }

  /** Something that must be put right; `text` as in {@link Problem}. */
  problem(path: ConfigPath, text: string): void {
    this.problems.push(this.#finding(path, text));
  }

  /** The same, of a key that should not be there: the place is the key's, the words name what it stands in. */
  problemAtKey(path: ConfigPath, text: string): void {
    const { line, column } = this.#source.locateKey(path);
    this.problems.push({ ...this.#finding(path.slice(0, -1), text), line, column });
  }

  /** Something legal that the user should know. */
  notice(path: ConfigPath, text: string, topic?: Problem['topic']): void {
    const finding = this.#finding(path, text);
    this.notices.push(topic === undefined ? finding : { ...finding, topic });
  }

  /** @throws ConfigError with every problem so far, if there is one. */
  throwIfAny(): void {
    if (this.problems.length > 0) throw new ConfigError(this.problems);
  }

  /** The line of what stands at `path`, for a reference to it. */
  line(path: ConfigPath): number {
    return this.#source.locate(path).line;
  }

  #finding(path: ConfigPath, text: string): Problem {
    return {
      ...this.#source.locate(path),
      file: this.#source.file,
      path: this.#source.describe(path),
      text,
    };
  }
}
