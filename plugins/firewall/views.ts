/** What the firewall tells of itself: its rules with their counters, and what becomes of a packet. */
import { type Json, VERDICT_CONTINUE, VERDICT_REJECT } from '../../src/plugin/contract.ts';
import type { Policy } from './policy.ts';
import type { TestPacket } from './test-packet.ts';

export interface RulesParameters {
  /** Leaves out rules that have not matched. */
  readonly matched: boolean;
  readonly limit: number;
}

export function rulesView(policy: Policy, { matched, limit }: RulesParameters): Json {
  const { rules } = policy;
  const chosen = Array.from(rules.matches, (flows, place) => ({ ...rules.at(place), flows })).filter(
    ({ flows }) => !matched || flows > 0,
  );
  const shown = chosen.slice(0, limit);
  const lines = shown.map(({ label, action, flows }) => `${label}: ${action}, ${flows} new flows`);
  const left = chosen.length - shown.length;
  if (chosen.length === 0) lines.push(matched ? 'no rule has matched' : 'there are no rules');
  if (left > 0) lines.push(`and ${left} more; --limit shows them`);
  return {
    rules: shown.map(({ index, name, action, flows }) => ({ index, name: name ?? null, action, flows })),
    more: left,
    boxes: policy.classifier.boxCount,
    memoryBytes: policy.classifier.bytes,
    lines,
  };
}

/** Where the last verdict came from: the place of a rule, or one of these. */
export const BY_DEFAULT = -1;
export const BEFORE_RULES = -2;

/** `verdict`, `reason` and `decider`: what the firewall has just said of the packet, and where that came from. */
export function testView(
  { classifier, rules }: Policy,
  { from, to }: TestPacket,
  verdict: number,
  reason: string,
  decider: number,
): Json {
  const word = verdict === VERDICT_CONTINUE ? 'accept' : verdict === VERDICT_REJECT ? 'reject' : 'drop';
  const lines = [`from ${from} to ${to}`];
  const passed: string[] = [];
  if (decider !== BEFORE_RULES) {
    classifier.begin();
    for (let place = classifier.next(); place >= 0 && place !== decider; place = classifier.next()) {
      const { label, action } = rules.at(place);
      passed.push(label);
      lines.push(`${label} matches: ${action}, and goes on`);
    }
  }
  lines.push(`${word}: ${reason}`);
  const rule = decider < 0 ? undefined : rules.at(decider);
  const decided =
    rule === undefined ? null : { index: rule.index, name: rule.name ?? null, action: rule.action };
  return { verdict: word, reason, rule: decided, passed, lines };
}
