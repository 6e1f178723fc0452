/**
 * The firewall beside nftables: random rules in both languages, real packets through a real ruleset of the kernel, and
 * the same rule must match.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { buildPacket } from '../../src/wire/build.ts';
import { inOwnNamespace } from '../../test/support/own-namespace.ts';
import { Classifier } from './classifier.ts';
import { compileRules, expandRules } from './compile-rules.ts';
import { FLOWS, MINUTE, NAMES, viewOf } from './firewall.fixture.ts';
import { expressionOf, Nftables, randomPacket, randomRule, rulesetOf } from './nftables.fixture.ts';
import { PacketValues } from './packet-values.ts';
import { parseExpression } from './parse-expression.ts';
import { Random } from './random.fixture.ts';

/** Rules of each round, and packets through them. */
const ROUNDS: readonly (readonly [rules: number, packets: number])[] = [
  ...Array.from({ length: 40 }, (_, round) => [3 + 2 * round, 200] as const),
  [400, 1500],
];
const TUNNELS = { a: { ...FLOWS.outbound, ingressPort: 1 }, c: { ...FLOWS.outbound, ingressPort: 3 } };

if (inOwnNamespace(import.meta.url)) {
  describe('beside nftables', () => {
    let nftables: Nftables;
    before(() => {
      nftables = new Nftables();
    });
    after(() => nftables.end());

    it('the same rule matches', async () => {
      let judged = 0;
      let matched = 0;
      const seen = new Set<string>();
      for (const [round, [ruleCount, packetCount]] of ROUNDS.entries()) {
        const random = new Random(20_261_122 + round * 7919);
        const rules = Array.from({ length: ruleCount }, () => randomRule(random));
        const expressions = rules.map(expressionOf);
        nftables.load(rulesetOf(rules));
        const values = new PacketValues();
        const classifier = new Classifier(
          compileRules(expandRules(expressions.map((text) => parseExpression(text, NAMES)))),
          values,
        );
        const specs = Array.from({ length: packetCount }, () => ({
          device: random.pick(['a', 'c'] as const),
          spec: randomPacket(random),
        }));
        const theirs = await nftables.judge(
          specs.map(({ device, spec }) => ({ device, packet: buildPacket(spec) })),
        );
        specs.forEach(({ device, spec }, number) => {
          values.read(viewOf(spec), TUNNELS[device], MINUTE);
          classifier.begin();
          const ours = classifier.next() + 1;
          assert.equal(
            ours,
            theirs[number],
            `round ${round}: ${device} ${JSON.stringify(spec)}\nours ${ours}: ${expressions[ours - 1]}\nnftables ${theirs[number]}: ${expressions[theirs[number]! - 1]}`,
          );
          judged++;
          if (ours > 0) {
            matched++;
            seen.add(`${round} ${ours}`);
          }
        });
      }
      assert.ok(matched > judged / 4 && matched < judged, `${matched} of ${judged} packets matched`);
      assert.ok(seen.size > 300, `${seen.size} rules matched`);
    });
  });
}
