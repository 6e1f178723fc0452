/**
 * Sets and removes the guard: the rules (`guard-rules.ts`) that keep the host and the data plane out of each
 * other's packets. There is no moment without rules, also while they change ({@link guardChanges}).
 *
 * The guard outlives both processes. It is set before any device is opened and removed last. Others change the
 * host's rules, too, and a `flush ruleset` takes the guard along: what stands is compared with what was set, by the
 * kernel's own numbers of rules and changes. That costs a fraction of a millisecond, so it is done at every change of
 * the configuration or of the host, and `nft` runs only where the rules differ.
 */
import { type NftState, nftState } from '../../device/native.ts';
import type { HostSetup } from '../compile/host-setup.ts';
import type { HostFacts } from '../facts.ts';
import { runCommand } from './command.ts';
import { GUARD_TABLE, guardChanges, removeGuardRules } from './guard-rules.ts';

/** How often in a row the guard is set while somebody changes it all the time. */
const MAX_ATTEMPTS = 5;

export class Guard {
  readonly #mark: string;
  readonly #onDamage: () => void;
  readonly #look: Look;
  #applied = '';
  /** Of the rules that the kernel had after they were set; undefined: not known, so that the next look sets them again. */
  #fingerprint: bigint | undefined;

  /**
   * @param mark comes back from {@link guardMark}: it ties the guard to what is kept on disk.
   * @param onDamage called when somebody else has changed or removed the guard, before it is set again.
   * @param look what stands now
   */
  constructor(mark: string, onDamage: () => void = () => {}, look: Look = lookAtTables) {
    this.#mark = mark;
    this.#onDamage = onDamage;
    this.#look = look;
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
      if (this.#look()?.fingerprint === this.#fingerprint) return false;
      this.#onDamage();
    }
    this.#fingerprint = undefined;
    this.#fingerprint = await set(changes, this.#look);
    this.#applied = wanted;
    return true;
  }
}

/**
 * Sets the guard; what the kernel has then. Damage done between setting and looking must not pass for the guard: it is
 * set until nobody else has changed rules meanwhile, which the number of changes tells.
 */
async function set(changes: readonly string[], look: Look): Promise<bigint | undefined> {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const before = look()?.generation;
    for (const rules of changes) await runCommand('nft', ['-f', '-'], { input: rules });
    const after = look();
    // Where it cannot be told, another attempt would tell nothing either.
    if (before === undefined || after === undefined) return undefined;
    if (after.generation === before + changes.length) return after.fingerprint;
  }
  return undefined;
}

/** What stands; undefined where it cannot be told. */
type Look = () => NftState | undefined;

function lookAtTables(): NftState | undefined {
  try {
    return nftState(GUARD_TABLE);
  } catch {
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
