/**
 * Sets and removes the guard: the rules (`guard-rules.ts`) that keep the host and the data plane out of each
 * other's packets. There is no moment without rules, also while they change ({@link guardChanges}).
 *
 * The guard outlives both processes. It is set before any device is opened and removed last. Others change the
 * host's rules, too, and a `flush ruleset` takes the guard along: what stands is compared with what was set, by the
 * kernel's own numbers of rules and changes. That costs a fraction of a millisecond, so it is done at every change of
 * the configuration or of the host, and `nft` runs only where the rules differ.
 */
import { nftState } from '../../device/native.ts';
import { fingerprintOfSet, type StandingRules, standingRules } from '../../tunnel/standing-rules.ts';
import type { HostSetup } from '../compile/host-setup.ts';
import type { HostFacts } from '../facts.ts';
import { runCommand } from './command.ts';
import { FAMILIES, GUARD_TABLE, guardChanges, removeGuardRules } from './guard-rules.ts';

/** How often in a row the guard is set while somebody changes it all the time. */
const MAX_ATTEMPTS = 5;

export class Guard {
  readonly #mark: string;
  readonly #onDamage: () => void;
  readonly #ask: typeof nftState;
  #applied = '';
  /** Of the rules that the kernel had after they were set; undefined: not known, so that the next look sets them again. */
  #fingerprint: StandingRules['fingerprint'] | undefined;

  /**
   * @param mark comes back from {@link guardMark}: it ties the guard to what is kept on disk.
   * @param onDamage called when somebody else has changed or removed the guard, before it is set again.
   * @param ask the kernel what stands now
   */
  constructor(mark: string, onDamage: () => void = () => {}, ask = nftState) {
    this.#mark = mark;
    this.#onDamage = onDamage;
    this.#ask = ask;
  }

  /**
   * Makes the guard that the set-up needs; does nothing if that is what stands.
   *
   * @returns whether something was changed.
   * @throws CommandError; the former guard stands then.
   */
  async apply(setup: HostSetup, links: HostFacts['links']): Promise<boolean> {
    const present = setup.devices.map(({ name }) => name).filter((name) => Object.hasOwn(links, name));
    const changes = guardChanges(setup, new Set(present), this.#mark);
    // A device that was made anew has lost its hook: its index tells.
    const wanted = `${changes.join('\n')}\n${present.map((name) => `${name}=${links[name]!.ifindex}`).join(' ')}`;
    if (wanted === this.#applied && this.#fingerprint !== undefined) {
      const { fingerprint } = await this.#look();
      if (fingerprint === this.#fingerprint) return false;
      // By a number now and by a listing then: not the same, and no damage.
      if (typeof fingerprint === typeof this.#fingerprint) this.#onDamage();
    }
    this.#fingerprint = undefined;
    this.#fingerprint = await this.#set(changes);
    this.#applied = wanted;
    return true;
  }

  #look(): Promise<StandingRules> {
    return standingRules(GUARD_TABLE, FAMILIES, runCommand, this.#ask);
  }

  /** Sets it, until nobody else has changed rules meanwhile; what the kernel has then, undefined if that cannot be told. */
  async #set(changes: readonly string[]): Promise<StandingRules['fingerprint'] | undefined> {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const before = await this.#look();
      for (const rules of changes) await runCommand('nft', ['-f', '-'], { input: rules });
      const after = await this.#look();
      const fingerprint = fingerprintOfSet(before, after, changes.length);
      // Where it cannot be told, another attempt would tell nothing either.
      const isKnown = before.generation !== undefined && after.generation !== undefined;
      // It is not gone just after it was set: nft lists nothing here.
      if (fingerprint === '') return undefined;
      if (fingerprint !== undefined || !isKnown) return fingerprint;
    }
    return undefined;
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
