/**
 * Rules as far as they are told, logged and counted: in columns, because the data plane takes over thousands of them between
 * two bursts. What they ask of packets is in `classifier.ts`.
 */
import { ACTIONS, type Action, type Rule, ruleLabel } from './rules.ts';

/** By place among the rules that are enabled. */
export interface CompiledRuleList {
  /** Place in the options. */
  readonly indexes: Int32Array;
  /** Empty for rules without a name. */
  readonly names: readonly string[];
  /** Places in {@link ACTIONS}. */
  readonly actions: Uint8Array;
  /** 1 if a line is logged. */
  readonly logs: Uint8Array;
  /** What rules are recognized by in other options: whole numbers, hashes of their identities. */
  readonly identities: Float64Array;
}

/** One rule. */
export type ListedRule = Pick<Rule, 'index' | 'name' | 'label' | 'action'>;

export class RuleList {
  readonly length: number;
  readonly logs: Uint8Array;
  /** Flows that matched, by place. */
  readonly matches: Float64Array;
  private readonly compiled: CompiledRuleList;
  private readonly labels: string[];

  constructor(compiled: CompiledRuleList) {
    this.compiled = compiled;
    this.length = compiled.indexes.length;
    this.logs = compiled.logs;
    this.matches = new Float64Array(this.length);
    this.labels = new Array<string>(this.length).fill('');
  }

  at(place: number): ListedRule {
    const { indexes, names, actions } = this.compiled;
    const action: Action = ACTIONS[actions[place]!]!;
    return { index: indexes[place]!, name: names[place] || undefined, label: this.label(place), action };
  }

  /** How messages name a rule; made when it is asked for first. */
  label(place: number): string {
    const known = this.labels[place]!;
    if (known !== '') return known;
    const { indexes, names } = this.compiled;
    const made = ruleLabel(indexes[place]!, names[place] || undefined);
    this.labels[place] = made;
    return made;
  }

  /** Identities and counts of the rules that have matched, in their order. */
  counts(): [identity: number, count: number][] {
    const { matches, compiled } = this;
    const counts: [number, number][] = [];
    for (let place = 0; place < matches.length; place++) {
      if (matches[place] !== 0) counts.push([compiled.identities[place]!, matches[place]!]);
    }
    return counts;
  }

  /** Goes on with such counts. Of rules of the same identity, which ask for the same, the first has counted. */
  goOnWith(counts: readonly (readonly [identity: number, count: number])[]): void {
    if (counts.length === 0) return;
    const { matches, compiled } = this;
    const left = new Map<number, number[]>();
    for (const [identity, count] of counts) {
      const of = left.get(identity);
      if (of === undefined) left.set(identity, [count]);
      else of.push(count);
    }
    for (let place = 0; place < matches.length; place++) {
      const count = left.get(compiled.identities[place]!)?.shift();
      if (count !== undefined) matches[place] = count;
    }
  }
}
