/** The example gateway, changed and compiled: for the compiler's tests. */
import assert from 'node:assert/strict';
import { type Compilation, type CompileOptions, compilePlan } from '../../src/control/compile/compile.ts';
import { parseConfig } from '../../src/control/config/load.ts';
import type { HostFacts, LinkFacts } from '../../src/control/facts.ts';
import { Identities } from '../../src/control/identities.ts';
import { EXAMPLE_CONFIG, EXAMPLE_FACTS, EXAMPLE_FILE } from '../fixtures/example-gateway.ts';

/** A text of the example and what stands there instead. */
export type Change = readonly [from: string, to: string];

export function example(...changes: Change[]): string {
  return changes.reduce((text, [from, to]) => {
    assert.ok(text.includes(from), from);
    return text.replace(from, () => to);
  }, EXAMPLE_CONFIG);
}

export function compile(
  text: string,
  facts: HostFacts = EXAMPLE_FACTS,
  identities = new Identities(),
  options: CompileOptions = {},
): Compilation {
  return compilePlan(parseConfig(text, EXAMPLE_FILE), facts, identities, options);
}

export function withLink(name: string, change: Partial<LinkFacts>): HostFacts {
  const link: LinkFacts = { ifindex: 90, kind: 'layer3', mtu: 1500, up: true, addresses: [] };
  const links = { ...EXAMPLE_FACTS.links, [name]: { ...link, ...EXAMPLE_FACTS.links[name], ...change } };
  return { ...EXAMPLE_FACTS, links };
}

export function withoutLink(name: string): HostFacts {
  const { [name]: _, ...links } = EXAMPLE_FACTS.links;
  return { ...EXAMPLE_FACTS, links };
}
