/** An explanation as it comes about: what is known so far, and a step for each stage that was reached. */
import { DROP_REASON_NAMES } from '../../plugin/drop-reasons.ts';
import type { Explanation, ExplanationStage, ExplanationStep } from './explanation.ts';

export class Steps {
  #known: Explanation;
  readonly #steps: ExplanationStep[] = [];

  constructor(known: Explanation) {
    this.#known = known;
  }

  /** Adds what has become known. */
  set(known: Partial<Explanation>): void {
    this.#known = { ...this.#known, ...known };
  }

  /** A stage that lets the packet go on. */
  pass(stage: ExplanationStage, text: string): void {
    this.#steps.push({ stage, passes: true, text });
  }

  /** The stage at which the packet is dropped, for this reason (number). */
  refuse(
    stage: ExplanationStage,
    reason: number,
    text: string,
    verdict: 'drop' | 'reject' = 'drop',
  ): Explanation {
    this.#steps.push({ stage, passes: false, text });
    return {
      ...this.#known,
      verdict,
      reason: DROP_REASON_NAMES[reason]!,
      translated: null,
      steps: this.#steps,
    };
  }

  /** The gateway itself answers. */
  answer(stage: ExplanationStage, text: string): Explanation {
    this.pass(stage, text);
    return { ...this.#known, verdict: 'answer', steps: this.#steps };
  }

  forward(): Explanation {
    return { ...this.#known, verdict: 'forward', steps: this.#steps };
  }

  /** Another explanation goes on where these steps end. */
  goOn(further: Explanation): Explanation {
    return { ...further, steps: [...this.#steps, ...further.steps] };
  }
}
