/**
 * What does not fit between a configuration and this host, told by who is to blame, because that decides what
 * becomes of it:
 *
 * | finding | example | at a start, or when it is applied | while the gateway runs |
 * | --- | --- | --- | --- |
 * | mistake | a device that is a port of a bridge | refused | its port is down |
 * | lack | a device, address or route that is not there (yet) | its port is down (`--strict`: refused) | its port is down |
 * | unready | no carrier | its port is down, as the data plane sees for itself | the same |
 * | notice | an MTU that had to be lowered | told | told |
 *
 * A port that is down never keeps others from running, and comes up when the host has what it needs.
 */
import type { ConfigPath, ConfigSource } from '../config/config.ts';
import { ConfigError, type Problem } from '../config/errors.ts';
import { Findings } from '../config/findings.ts';

/** What a compilation puts up with; everything else makes it fail. */
export type Tolerance = 'nothing' | 'lacks' | 'everything';

class Found {
  readonly mistakes: Findings;
  readonly lacks: Findings;
  readonly unready: Findings;
  /** Of the lacks, those that take no port down. */
  parts = 0;

  constructor(source: ConfigSource) {
    this.mistakes = new Findings(source);
    this.lacks = new Findings(source);
    this.unready = new Findings(source);
  }
}

export class HostFindings {
  readonly #source: ConfigSource;
  #found: Found;

  constructor(source: ConfigSource) {
    this.#source = source;
    this.#found = new Found(source);
  }

  /** Why ports are down, in the file's order. */
  get problems(): readonly Problem[] {
    const { mistakes, lacks, unready } = this.#found;
    const all = [...mistakes.problems, ...lacks.problems, ...unready.problems];
    return all.sort((a, b) => a.line - b.line || a.column - b.column);
  }

  get notices(): readonly Problem[] {
    return this.#found.mistakes.notices;
  }

  /** Mistakes and lacks so far that take a port down: whether compiling one has found any. */
  get count(): number {
    const { mistakes, lacks, parts } = this.#found;
    return mistakes.problems.length + lacks.problems.length - parts;
  }

  /** Runs `compile`; what is found meanwhile is forgotten: nobody wants to know it of a disabled tunnel. */
  unheard<T>(compile: () => T): T {
    const heard = this.#found;
    this.#found = new Found(this.#source);
    const result = compile();
    this.#found = heard;
    return result;
  }

  /** Something that no change of the host, short of one that was made on purpose, puts right. */
  mistake(path: ConfigPath, text: string): void {
    this.#found.mistakes.problem(path, text);
  }

  /** Something that the host has not, and may have later. */
  lack(path: ConfigPath, text: string): void {
    this.#found.lacks.problem(path, text);
  }

  /** As {@link lack}, where the port works without the part that needs it. */
  lackPart(path: ConfigPath, text: string): void {
    this.#found.parts++;
    this.lack(path, text);
  }

  /** A device is there, but nothing passes by it. */
  notReady(path: ConfigPath, text: string): void {
    this.#found.unready.problem(path, text);
  }

  /** Something legal that the user should know. */
  notice(path: ConfigPath, text: string): void {
    this.#found.mistakes.notice(path, text);
  }

  /** @throws ConfigError with what is not tolerated. */
  throwUnless(tolerance: Tolerance): void {
    if (tolerance === 'everything') return;
    const { mistakes, lacks } = this.#found;
    const refused = tolerance === 'nothing' ? [...mistakes.problems, ...lacks.problems] : mistakes.problems;
    if (refused.length > 0) throw new ConfigError(refused);
  }
}
