/**
 * Sets and removes the guard: the rules (`guard-rules.ts`) that keep the host and the data plane out of each
 * other's packets. Each change is one transaction of nftables: there is no moment without rules.
 *
 * The guard outlives both processes. It is set before any device is opened and removed last.
 */

import type { HostSetup } from '../compile/host-setup.ts';
import type { HostFacts } from '../facts.ts';
import { runCommand } from './command.ts';
import { GUARD_TABLE, guardRules, removeGuardRules } from './guard-rules.ts';

export class Guard {
  readonly #mark: string;
  #applied = '';

  /** @param mark comes back from {@link guardMark}: it ties the guard to what is kept on disk. */
  constructor(mark: string) {
    this.#mark = mark;
  }

  /**
   * Makes the guard that the set-up needs; does nothing if that is what stands.
   *
   * @returns whether something was changed.
   * @throws CommandError; the former guard stands then.
   */
  async apply(setup: HostSetup, links: HostFacts['links']): Promise<boolean> {
    const present = setup.devices.filter(({ name }) => links[name] !== undefined).map(({ name }) => name);
    const rules = guardRules(setup, new Set(present), this.#mark);
    // A device that was made anew has lost its hook: its index tells.
    const wanted = `${rules}\n${present.map((name) => `${name}=${links[name]!.ifindex}`).join(' ')}`;
    if (wanted === this.#applied) return false;
    await runCommand('nft', ['-f', '-'], { input: rules });
    this.#applied = wanted;
    return true;
  }
}

/** Removes the guard, whoever set it. */
export async function removeGuard(): Promise<void> {
  await runCommand('nft', ['-f', '-'], { input: removeGuardRules() });
}

/** The mark of the guard that stands in this network namespace; undefined if none does. */
export async function guardMark(): Promise<string | undefined> {
  const table = await runCommand('nft', ['list', 'table', 'inet', GUARD_TABLE], { mayFail: true });
  return /^\s*comment "([^"]*)"/m.exec(table)?.[1];
}
