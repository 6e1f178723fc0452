/**
 * Everything that is done to the host, in the order that keeps packets in: the guard first and last.
 *
 * ```
 *  change:  guard for both set-ups -> take links -> (data plane gets its plan) -> give back links -> guard
 *  down:    links down -> (data plane ends) -> give back links and ports -> guard away
 * ```
 *
 * Neighbours: `guard.ts`, `links.ts`; `control/gateway.ts` drives it together with the supervisor.
 */
import { readFileSync } from 'node:fs';
import { networkNamespaceCookie } from '../../device/native.ts';
import type { HostDevice, HostSetup } from '../compile/host-setup.ts';
import type { HostFacts } from '../facts.ts';
import { formerDevices } from './former-devices.ts';
import { Guard, removeGuard } from './guard.ts';
import { emptyHostState, readHostState, writeHostState } from './host-state.ts';
import { Links } from './links.ts';

export class HostSide {
  /** Whether an earlier run's set-up stands, to be taken over; its flow memory is of this namespace. */
  readonly takesOver: boolean;
  readonly #statePath: string;
  readonly #guard: Guard;
  readonly #links: Links;
  #setup: HostSetup = { devices: [] };

  private constructor(takesOver: boolean, statePath: string, guard: Guard, links: Links) {
    this.takesOver = takesOver;
    this.#statePath = statePath;
    this.#guard = guard;
    this.#links = links;
  }

  /**
   * Reads what an earlier run has left. Changes nothing yet.
   *
   * @param onGuardDamage called when somebody else has changed the guard, before it is set again.
   */
  static open(statePath: string, onGuardDamage: () => void = () => {}): HostSide {
    const state = readHostState(statePath);
    const mark = namespaceMark();
    const takesOver = state !== undefined && state.mark === mark;
    const current = takesOver ? state : emptyHostState(mark);
    const guard = new Guard(current.mark, onGuardDamage);
    return new HostSide(takesOver, statePath, guard, new Links(statePath, current));
  }

  /** Tunnel interfaces that the kernel would not make, by name: `HostFacts.refusedLinks`. */
  get refusedLinks(): HostFacts['refusedLinks'] {
    return this.#links.refused;
  }

  /** See {@link Namespaces.generation}. */
  namespaceGeneration(device: string): number {
    return this.#links.namespaces.generation(device);
  }

  /** Milliseconds until the kernel is to be asked again for one of them; undefined: it has refused none. */
  get retryInMs(): number | undefined {
    return this.#links.retryInMs;
  }

  /**
   * Sets the guard and does nothing else: for the time before there is a data plane. The next start takes it over.
   *
   * @throws CommandError
   */
  async protect(setup: HostSetup, facts: HostFacts): Promise<void> {
    writeHostState(this.#statePath, this.#links.state);
    await this.#guard.apply(this.#withNumbers(this.#withFormer(setup, facts), facts), facts.links);
  }

  /**
   * Before the data plane gets a plan: guard and links for it, while what the former one had stays guarded, also one of an
   * earlier run.
   *
   * @returns whether a link was made or changed: the facts may have changed with it.
   * @throws CommandError
   */
  async prepare(setup: HostSetup, facts: HostFacts): Promise<boolean> {
    writeHostState(this.#statePath, this.#links.state);
    const both = this.#withFormer(union(setup, this.#setup), facts);
    await this.#guard.apply(this.#withNumbers(both, facts), facts.links);
    this.#setup = both;
    return await this.#links.take(setup);
  }

  /** After the data plane has applied the plan: what only the former one needed is the host's again. */
  async finish(setup: HostSetup, facts: HostFacts): Promise<void> {
    await this.#links.giveBackOthers(setup);
    await this.#guard.apply(this.#withNumbers(setup, facts), facts.links);
    this.#setup = setup;
  }

  /** With what is still taken and not named any more. */
  #withFormer(setup: HostSetup, facts: HostFacts): HostSetup {
    const former = formerDevices(this.#links.state, setup, facts);
    return former.length === 0 ? setup : union({ devices: former }, setup);
  }

  /** A device that was taken and has another name now is still guarded, by its number: its site has not moved. */
  #withNumbers(setup: HostSetup, { links }: HostFacts): HostSetup {
    const there = new Set(Object.values(links).map(({ ifindex }) => ifindex));
    const devices = setup.devices.map((device) => {
      if (device.role !== 'exclusive' || device.ifindex !== 0) return device;
      const { links: takenLinks, madeLinks } = this.#links.state;
      const taken = [...takenLinks, ...madeLinks].find(({ name }) => name === device.name);
      return taken !== undefined && there.has(taken.ifindex) ? { ...device, ifindex: taken.ifindex } : device;
    });
    return { devices };
  }

  /**
   * Takes everything down.
   *
   * @param endDataPlane called between links and guard.
   */
  async takeDown(endDataPlane: () => Promise<void>): Promise<void> {
    await this.#links.setDown();
    await endDataPlane();
    await this.#links.giveBackAll();
    await removeGuard();
  }
}

/** Devices of both, each name once; where both have one, what gives the host less. */
function union(next: HostSetup, former: HostSetup): HostSetup {
  const strictest = new Map<string, HostDevice>();
  for (const device of [...former.devices, ...next.devices]) {
    const known = strictest.get(device.name);
    if (known?.role !== 'exclusive' || device.role === 'exclusive') strictest.set(device.name, device);
  }
  return { devices: [...strictest.values()].map((device, at) => ({ ...device, index: at })) };
}

/** Names this namespace for good: no other one of this boot, and none of another boot, has the same. */
function namespaceMark(): string {
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return `homeward ${boot} ${networkNamespaceCookie()}`;
}
