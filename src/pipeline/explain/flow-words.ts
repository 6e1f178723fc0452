/**
 * What becomes of the packets of a flow that exists, in words: from its record alone, as for any packet that hits
 * (`pipeline.ts`). No route is asked; what was decided when the flow began stands in the record.
 */
import { flowStateName } from '../../flow/flow-state.ts';
import {
  DIRECTION_EGRESS,
  DIRECTION_WORDS,
  FLOW_DIVERTED,
  FLOW_ROUTED_REPLY,
  FLOW_UNVOUCHED,
  FlowKey,
  ORIGINATOR,
  RECORD_WORDS,
  REPLY,
  SHARED_ID,
  SHARED_INGRESS,
  SHARED_PLAN,
  SHARED_PLUGINS,
  SHARED_STATE,
} from '../../flow/layout.ts';
import { readKey } from '../../flow/record.ts';
import { DROP, DROP_REASON_NAMES } from '../../plugin/drop-reasons.ts';
import { isUnreachable, lacksEgress, otherEgress } from '../flow-egress.ts';
import type { ExplainerParts } from './explain.ts';
import type { Explanation, ExplanationStage, ExplanationStep } from './explanation.ts';
import { streamSteps } from './stream-words.ts';
import {
  listed,
  protocolWord,
  reversedTuple,
  translatedTuple,
  tupleOf,
  tupleWords,
  type Words,
} from './words.ts';

const DIRECTION_NAMES = ['originator', 'responder'] as const;

export class FlowWords {
  readonly #parts: ExplainerParts;
  readonly #words: Words;

  constructor(parts: ExplainerParts, words: Words) {
    this.#parts = parts;
    this.#words = words;
  }

  /** Both directions of a flow; undefined if it does not exist (any more). */
  explain(id: number): Explanation | undefined {
    const { table } = this.#parts.state;
    for (let record = table.next(-1); record >= 0; record = table.next(record)) {
      if (table.words[record * RECORD_WORDS + SHARED_ID] === (id | 0)) {
        const steps = [
          ...this.#origin(record),
          ...this.#path(record, ORIGINATOR),
          ...this.#path(record, REPLY),
        ];
        return this.#explanation(record, ORIGINATOR, steps);
      }
    }
    return undefined;
  }

  /** A packet that came in by `port` and belongs to a flow, in this direction. */
  hit(record: number, direction: number, port: number): Explanation {
    const { words } = this.#parts.state.table;
    const ingress = words[record * RECORD_WORDS + SHARED_INGRESS]! & 0xffff;
    const steps = [...this.#origin(record)];
    if (direction === ORIGINATOR && ingress !== port) {
      const names = `${this.#words.portOfKind(port)}, not ${this.#words.portOfKind(ingress)}`;
      steps.push(step('flow', true, `It comes by ${names}, of the same space: the pin moves there.`));
    }
    steps.push(...this.#path(record, direction));
    const explanation = this.#explanation(record, direction, steps);
    const moved =
      direction === ORIGINATOR && !this.#isRouted(record) ? this.#words.port(port) : explanation.pin;
    return { ...explanation, ingress: this.#words.port(port), pin: moved };
  }

  #explanation(record: number, direction: number, steps: readonly ExplanationStep[]): Explanation {
    const { words } = this.#parts.state.table;
    const base = record * RECORD_WORDS;
    const [own, other] = this.#keys(record, direction);
    const reason = this.#obstacle(record, direction);
    const egress = this.#egress(record, direction);
    const pin = this.#egress(record, REPLY);
    return {
      verdict: reason === 0 ? 'forward' : 'drop',
      reason: reason === 0 ? null : DROP_REASON_NAMES[reason]!,
      flow: words[base + SHARED_ID]! >>> 0,
      from: this.#words.space(own.meta >>> 16),
      to: this.#words.space(other.meta >>> 16),
      ingress: direction === ORIGINATOR ? this.#words.port(words[base + SHARED_INGRESS]! & 0xffff) : null,
      egress: egress < 0 ? null : this.#words.port(egress),
      pin: pin < 0 ? null : this.#words.port(pin),
      translated: reason === 0 ? translatedTuple(tupleOf(own), reversedTuple(tupleOf(other))) : null,
      ports: [],
      steps,
    };
  }

  /** Which flow it is, and who decided what when it began. */
  #origin(record: number): ExplanationStep[] {
    const { table } = this.#parts.state;
    const { words } = table;
    const base = record * RECORD_WORDS;
    const [key] = this.#keys(record, ORIGINATOR);
    const protocol = (key.meta >>> 8) & 0xff;
    const space = this.#words.spaceOfKind(key.meta >>> 16);
    const what = `${protocolWord(protocol)} ${tupleWords(tupleOf(key), protocol)}`;
    const state = flowStateName(words, base).replaceAll('_', ' ');
    const steps = [
      step(
        'flow',
        true,
        `Flow ${words[base + SHARED_ID]! >>> 0} of ${space}: ${what}, ${state}; begun under plan ${words[base + SHARED_PLAN]}. No route is asked any more.`,
      ),
    ];
    const plugins = words[base + SHARED_PLUGINS]!;
    const names = this.#parts.policy.chain.names;
    const inspectors = names.filter((_, at) => (plugins & (1 << at)) !== 0);
    const decider = plugins >>> 16 === 0 ? undefined : names[(plugins >>> 16) - 1];
    const isDiverted = (this.#state(record) & FLOW_DIVERTED) !== 0;
    const diversion = this.#words.port(
      words[base + ORIGINATOR * DIRECTION_WORDS + DIRECTION_EGRESS]! & 0xffff,
    );
    const decided = isDiverted
      ? `It was diverted to the proxy behind ${diversion}.`
      : decider === undefined
        ? 'No plugin objected to it.'
        : `The plugin ${decider} accepted it.`;
    const looks =
      inspectors.length === 0
        ? 'None looks at its packets.'
        : `Its packets are shown to ${listed(inspectors)}.`;
    steps.push(step('plugin', true, `${decided} ${looks}`));
    steps.push(...streamSteps(this.#parts.streams.table, record, names));
    return steps;
  }

  /** What becomes of the packets of one direction. */
  #path(record: number, direction: number): ExplanationStep[] {
    const [own, other] = this.#keys(record, direction);
    const protocol = (own.meta >>> 8) & 0xff;
    const who = `Packets of the ${DIRECTION_NAMES[direction]}`;
    const egress = this.#egress(record, direction);
    const steps = [this.#egressStep(record, direction, egress)];
    if (this.#isUnvouched(record, direction)) {
      steps.push(
        step(
          'return',
          false,
          `${who} wait: since a restart the originator has not been seen, from its site.`,
        ),
      );
    }
    if (egress < 0) return steps;
    const before = tupleWords(tupleOf(own), protocol);
    const after = tupleWords(reversedTuple(tupleOf(other)), protocol);
    const translated =
      before === after ? `${who} leave untranslated.` : `${who} leave as ${after} instead of ${before}.`;
    steps.push(step('translation', true, translated));
    steps.push(
      step(
        'mtu',
        true,
        `Up to ${this.#parts.link.portMtu(egress)} bytes leave by ${this.#words.port(egress)} as they are.`,
      ),
    );
    if (this.#isSilent(record, direction, egress)) {
      steps.push(step('neighbor', false, `The host or router that they would be handed to does not answer.`));
    }
    return steps;
  }

  #egressStep(record: number, direction: number, egress: number): ExplanationStep {
    const { words } = this.#parts.state.table;
    const line = record * RECORD_WORDS + direction * DIRECTION_WORDS;
    const stored = words[line + DIRECTION_EGRESS]! & 0xffff;
    const name = this.#words.portOfKind(stored);
    const isPin = direction === REPLY && !this.#isRouted(record);
    const stage: ExplanationStage = direction === REPLY ? 'return' : 'egress';
    const who = `Packets of the ${DIRECTION_NAMES[direction]}`;
    if (egress < 0) {
      const none = isPin ? 'and replies go nowhere else' : 'and no other of its space is up';
      return step(stage, false, `${who} are dropped: ${name} is down or gone, ${none}.`);
    }
    if (egress !== stored) {
      return step(stage, true, `${who} leave by ${this.#words.portOfKind(egress)}, because ${name} is down.`);
    }
    if (isPin) return step(stage, true, `${who} are replies: they go to the pin, ${name}.`);
    const why = direction === REPLY ? ', routed within the site' : ', which was chosen when the flow began';
    return step(stage, true, `${who} leave by ${name}${why}.`);
  }

  /** As `pipeline.ts` decides for a packet that hits: 0, or the reason to drop it. */
  #obstacle(record: number, direction: number): number {
    if (this.#isUnvouched(record, direction)) return DROP.unvouched;
    const egress = this.#egress(record, direction);
    if (egress < 0) return lacksEgress(direction, this.#state(record));
    return this.#isSilent(record, direction, egress) ? DROP.neighbor_unresolved : 0;
  }

  #egress(record: number, direction: number): number {
    const { words } = this.#parts.state.table;
    const { ports } = this.#parts.policy;
    const base = record * RECORD_WORDS;
    const word = words[base + direction * DIRECTION_WORDS + DIRECTION_EGRESS]!;
    if (ports.wordOf[word & 0xffff] === word) return word & 0xffff;
    return otherEgress(words, record, direction, words[base + SHARED_STATE]!, ports);
  }

  #isSilent(record: number, direction: number, egress: number): boolean {
    const { state, link } = this.#parts;
    const [key] = this.#keys(record, direction);
    return (
      link.failedNeighbors !== 0 &&
      isUnreachable(link, key.meta & 0xff, state.table.words, record, direction, egress)
    );
  }

  #isRouted(record: number): boolean {
    return (this.#state(record) & FLOW_ROUTED_REPLY) !== 0;
  }

  #isUnvouched(record: number, direction: number): boolean {
    return direction === REPLY && (this.#state(record) & FLOW_UNVOUCHED) !== 0;
  }

  #state(record: number): number {
    return this.#parts.state.table.words[record * RECORD_WORDS + SHARED_STATE]!;
  }

  /** The keys of this direction and of the other one. */
  #keys(record: number, direction: number): readonly [FlowKey, FlowKey] {
    const { words } = this.#parts.state.table;
    const own = new FlowKey();
    const other = new FlowKey();
    readKey(words, record, direction, own);
    readKey(words, record, direction ^ 1, other);
    return [own, other];
  }
}

function step(stage: ExplanationStage, passes: boolean, text: string): ExplanationStep {
  return { stage, passes, text };
}
