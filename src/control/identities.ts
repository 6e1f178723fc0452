/**
 * Numbers for names: address spaces, ports and devices keep theirs across plans and restarts, for as long as
 * the flow memory lives, because flow records store them.
 *
 * ```
 *  port slot (1..1023)
 *
 *   never used --- name appears ---> in use (generation g, fingerprint f)
 *                                      |   ^          |
 *                                      |   |          +- fingerprint changes: generation g + 1, same slot
 *                        name is gone  |   |
 *                                      v   | a name appears in a LATER plan and no slot is unused:
 *                                    free -+ the one free for longest, generation g + 1
 * ```
 *
 * A space id is never given to another name: a record of the old site must not be taken for one of the new. Nor does
 * a name keep its id when none of its site's tunnels is one that it had: another network stands behind it then (two
 * sites that swap their tunnels, or their names), and what is held for late packets was the former one's. The same
 * when a tunnel leaves it for another site: part of what is held is for what is now that site.
 * Device numbers stand in no record; a freed one is given again from the next plan on.
 *
 * The file lies beside the flow memory and is removed with it. It is written whole to a temporary file, synced
 * and renamed, so that a crash leaves the old or the new one.
 *
 * Neighbours: `compile/` (the only caller of {@link Identities.assign}), `runtime/` (where the file lies).
 */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import * as z from 'zod';

/** Port slots are 1..MAX_PORTS; slot 0 is never used. */
export const MAX_PORTS = 1023;
/** Space ids are 1..MAX_SPACES. */
export const MAX_SPACES = 65535;
/** Device numbers are 0..MAX_DEVICES - 1. */
export const MAX_DEVICES = 1024;
const MAX_GENERATION = 65535;

/** Everything that needs a number in one plan. Names are unique within a list. */
export interface IdentityRequest {
  readonly spaces: readonly SpaceRequest[];
  readonly ports: readonly PortRequest[];
  readonly devices: readonly string[];
}

export interface SpaceRequest {
  readonly kind: 'site' | 'egress' | 'diversion';
  readonly name: string;
  /** What its ports lead to (type, endpoints, key, device), each as one text: the same whichever site it is in. */
  readonly members: readonly string[];
}

export interface PortRequest {
  readonly name: string;
  /** Site, type, endpoints, key, device as one text: if it changes, this is another tunnel. */
  readonly fingerprint: string;
}

/** The numbers, in the order of the request's lists. */
export interface AssignedIdentities {
  readonly spaces: readonly number[];
  readonly ports: readonly { readonly index: number; readonly generation: number }[];
  readonly devices: readonly number[];
}

/** The identities cannot be read, or no number is left. */
export class IdentityError extends Error {
  readonly code: 'identities_unreadable' | 'identities_exhausted';

  constructor(code: IdentityError['code'], message: string) {
    super(message);
    this.name = 'IdentityError';
    this.code = code;
  }
}

const slotSchema = z.strictObject({
  index: z.int().min(1).max(MAX_PORTS),
  generation: z.int().min(1).max(MAX_GENERATION),
  fingerprint: z.string(),
});

const stateSchema = z.strictObject({
  version: z.literal(1),
  plan: z.strictObject({ generation: z.int().min(0), digest: z.string() }),
  /** Ids of every `kind:name` ever seen; of those that it does not stand for any more, `kind:name id`. */
  spaces: z.record(z.string(), z.int().min(1).max(MAX_SPACES)),
  /** The members that a `kind:name` had when it was last in a plan with any. */
  members: z.record(z.string(), z.array(z.string())).default({}),
  ports: z.record(z.string(), slotSchema),
  /** Slots without a name and their last generation, the one free for longest first. */
  freePorts: z.array(slotSchema.omit({ fingerprint: true })),
  devices: z.record(z.string(), z.int().min(0)),
});

type IdentityState = z.infer<typeof stateSchema>;

export class Identities {
  #state: IdentityState = {
    version: 1,
    plan: { generation: 0, digest: '' },
    spaces: {},
    members: {},
    ports: {},
    freePorts: [],
    devices: {},
  };

  /**
   * Reads what {@link save} wrote; without the file: no identities yet.
   *
   * @throws IdentityError `identities_unreadable`. The flow memory beside it is worthless then.
   */
  static load(path: string): Identities {
    const identities = new Identities();
    let text: string;
    try {
      text = readFileSync(path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return identities;
      throw error;
    }
    let json: unknown;
    try {
      json = JSON.parse(text);
    } catch {
      throw new IdentityError('identities_unreadable', `${path} is not JSON`);
    }
    const state = stateSchema.safeParse(json);
    if (!state.success || hasTwice(state.data)) {
      throw new IdentityError('identities_unreadable', `${path} is not a file of identities`);
    }
    identities.#state = state.data;
    return identities;
  }

  /** The same numbers, to try something out with or to come back to. */
  copy(): Identities {
    const copy = new Identities();
    copy.#state = structuredClone(this.#state);
    return copy;
  }

  /** Writes all identities to `path`, whole or not at all. To be called before a plan made with them is used. */
  save(path: string): void {
    const temporary = `${path}.${process.pid}.tmp`;
    try {
      const file = openSync(temporary, 'w', 0o600);
      try {
        writeSync(file, `${JSON.stringify(this.#state, null, 1)}\n`);
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
      renameSync(temporary, path);
    } catch (error) {
      rmSync(temporary, { force: true });
      throw error;
    }
    const directory = openSync(dirname(path), 'r');
    try {
      fsyncSync(directory);
    } finally {
      closeSync(directory);
    }
  }

  /**
   * Numbers for everything in one plan; what is not in the request any more is free from the next call on.
   *
   * @throws IdentityError `identities_exhausted`; nothing has changed then.
   */
  assign(request: IdentityRequest): AssignedIdentities {
    const state = structuredClone(this.#state);
    const siteOf = new Map(
      request.spaces.flatMap(({ kind, name, members }) =>
        kind === 'site' ? members.map((member): [string, string] => [member, name]) : [],
      ),
    );
    const assigned: AssignedIdentities = {
      spaces: request.spaces.map((space) => assignSpace(state, space, siteOf)),
      ports: request.ports.map((port) => assignPort(state, port)),
      devices: assignDevices(state, request.devices),
    };
    const names = new Set(request.ports.map((port) => port.name));
    for (const [name, { index, generation }] of Object.entries(state.ports)) {
      if (names.has(name)) continue;
      delete state.ports[name];
      state.freePorts.push({ index, generation });
    }
    this.#state = state;
    return assigned;
  }

  /** The generation of a plan whose content has this digest: the last one's again if nothing changed. */
  planGeneration(digest: string): number {
    const plan = this.#state.plan;
    if (plan.digest !== digest) {
      this.#state.plan = { generation: plan.generation + 1, digest };
    }
    return this.#state.plan.generation;
  }
}

/** Whether a number stands for two names: such a file would join two sites. */
function hasTwice(state: IdentityState): boolean {
  const spaces = Object.values(state.spaces);
  const ports = [...Object.values(state.ports), ...state.freePorts].map((slot) => slot.index);
  const devices = Object.values(state.devices);
  return [spaces, ports, devices].some((numbers) => new Set(numbers).size !== numbers.length);
}

/** A name may be `constructor`: only the record's own properties count. */
function own<T>(record: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(record, name) ? record[name] : undefined;
}

/** @param siteOf the site that each member of any site is in now */
function assignSpace(
  state: IdentityState,
  { kind, name, members }: SpaceRequest,
  siteOf: ReadonlyMap<string, string>,
): number {
  const key = `${kind}:${name}`;
  const known = own(state.spaces, key);
  const before = own(state.members, key) ?? [];
  if (members.length > 0) state.members[key] = [...members];
  const isLeft = (one: string): boolean => (siteOf.get(one) ?? name) !== name;
  const isAnother =
    before.length > 0 &&
    members.length > 0 &&
    (!members.some((one) => before.includes(one)) || before.some(isLeft));
  if (known !== undefined) {
    if (kind !== 'site' || !isAnother) return known;
    state.spaces[`${key} ${known}`] = known;
    delete state.spaces[key];
  }
  const id = Object.keys(state.spaces).length + 1;
  if (id > MAX_SPACES)
    throw new IdentityError('identities_exhausted', `no address space id left for ${name}`);
  state.spaces[key] = id;
  return id;
}

function assignPort(
  state: IdentityState,
  { name, fingerprint }: PortRequest,
): { index: number; generation: number } {
  const known = own(state.ports, name);
  if (known !== undefined) {
    const generation =
      known.fingerprint === fingerprint ? known.generation : nextGeneration(known.generation);
    state.ports[name] = { index: known.index, generation, fingerprint };
    return { index: known.index, generation };
  }
  const used = Object.keys(state.ports).length + state.freePorts.length;
  const free = used < MAX_PORTS ? undefined : state.freePorts.shift();
  if (used >= MAX_PORTS && free === undefined) {
    throw new IdentityError(
      'identities_exhausted',
      `no port is free for ${name}: all ${MAX_PORTS} are in use or were until this change`,
    );
  }
  const index = free === undefined ? used + 1 : free.index;
  const generation = free === undefined ? 1 : nextGeneration(free.generation);
  state.ports[name] = { index, generation, fingerprint };
  return { index, generation };
}

function nextGeneration(generation: number): number {
  return (generation % MAX_GENERATION) + 1;
}

function assignDevices(state: IdentityState, names: readonly string[]): number[] {
  const taken = new Set(Object.values(state.devices));
  let candidate = 0;
  const numbers = names.map((name) => {
    const known = own(state.devices, name);
    if (known !== undefined) return known;
    while (taken.has(candidate)) candidate++;
    if (candidate >= MAX_DEVICES) {
      throw new IdentityError('identities_exhausted', `no device number is free for ${name}`);
    }
    taken.add(candidate);
    return candidate;
  });
  state.devices = Object.fromEntries(names.map((name, at) => [name, numbers[at]!]));
  return numbers;
}
