/**
 * What is to be said about the host: why ports are down now, and what is worth knowing. Compiled anew at every change
 * of the host, and so said many times over; the log gets each line once, until it is no longer so.
 */
import type { PlanPort } from '../pipeline/plan.ts';
import type { ControlEvents } from './events.ts';
import type { Logger } from './runtime/logger.ts';

/** Of notices that were logged, so that a host that changes all the time does not fill the memory. */
const MAX_SAID = 10_000;

export class HostReport {
  readonly #logger: Logger;
  readonly #events: ControlEvents;
  /** What compiling found. */
  #problems: readonly string[] = [];
  /** Why the last change could not be made; empty if it could. */
  #failure = '';
  #notices: readonly string[] = [];
  readonly #said = new Set<string>();

  constructor(logger: Logger, events: ControlEvents) {
    this.#logger = logger;
    this.#events = events;
  }

  /** Everything that keeps ports from being up, one line each. */
  get problems(): readonly string[] {
    return this.#failure === '' ? this.#problems : [...this.#failure.split('\n'), ...this.#problems];
  }

  get notices(): readonly string[] {
    return this.#notices;
  }

  /**
   * What keeps a tunnel, an egress or a diversion down, each thing with the key that it is about, such as `device: eth1 does not
   * exist`; undefined: nothing that is known here.
   */
  lackOf(role: PlanPort['role'], name: string): string | undefined {
    // Of a diversion nothing stands in the configuration.
    if (role === 'diversion') return undefined;
    const place = role === 'tunnel' ? `.tunnels.${name}` : ` egress.${name}`;
    const lines = linesAbout(place, this.#problems);
    if (lines.length === 0) return undefined;
    return lines
      .map((line) =>
        subject(line)
          .slice(line.indexOf(place) + place.length)
          .replace(/^\.|^: /, ''),
      )
      .join(', ');
  }

  /** What the host lacks now, all of it. */
  lacks(problems: readonly string[]): void {
    const before = new Set(this.#problems.map(subject));
    const now = new Set(problems.map(subject));
    for (const problem of problems) if (!before.has(subject(problem))) this.#logger.warn(problem);
    for (const problem of this.#problems) {
      if (!now.has(subject(problem))) this.#logger.info(`no longer so: ${problem}`);
    }
    this.#change(() => {
      this.#problems = problems;
    });
  }

  /** The host's state could not be followed; the former plan stays. */
  failed(failure: string): void {
    if (failure !== this.#failure) {
      this.#logger.warn({ problem: failure }, 'the change cannot be followed now; the former plan stays');
    }
    this.#change(() => {
      this.#failure = failure;
    });
  }

  /** The host's state was followed. */
  followed(): void {
    if (this.#failure !== '') this.#logger.info('changes are followed again');
    this.#change(() => {
      this.#failure = '';
    });
  }

  /** What is worth knowing now, all of it. */
  notes(notices: readonly string[]): void {
    for (const notice of notices) this.note(notice);
    this.#notices = notices;
  }

  /** Something worth knowing, for the log only. */
  note(notice: string): void {
    if (this.#said.has(notice)) return;
    if (this.#said.size >= MAX_SAID) this.#said.clear();
    this.#said.add(notice);
    this.#logger.warn(notice);
  }

  #change(change: () => void): void {
    const before = this.problems.join('\n');
    change();
    const { problems } = this;
    if (problems.join('\n') !== before) this.#events.publish({ type: 'problems', problems });
  }
}

/** The lines that are about this tunnel or one of its keys. */
export function problemsAbout(tunnel: string, problems: readonly string[]): readonly string[] {
  return linesAbout(`.tunnels.${tunnel}`, problems);
}

function linesAbout(place: string, problems: readonly string[]): readonly string[] {
  return problems.filter((line) => line.includes(`${place}.`) || line.includes(`${place}:`));
}

/** A line without what would be right, which lists what there is at the moment. */
function subject(problem: string): string {
  return problem.split('; ', 1)[0]!;
}
