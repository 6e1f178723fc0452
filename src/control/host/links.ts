/**
 * Brings the interfaces into the state that the data plane needs, and back.
 *
 * ```
 *             take                                 give back
 *  as it was ------> Ethernet: the host speaks   ------> as it was
 *     (recorded)     neither ARP nor IPv6; up            (set down first if we set it up)
 *                    all: the host takes and
 *                    forwards no IPv4 from it
 *
 *  absent    ------> TUN: persistent, vnet_hdr,   ------> deleted
 *     (recorded)     no addresses, up
 *
 *  absent    ------> the kernel's tunnel, down    ------> deleted
 *     (recorded)       | the guard has its hook
 *                      v
 *                    up, as others above
 * ```
 *
 * The record is written before the change. An interface that was made anew under its name (another index) is
 * taken again, and nothing is put back on the former one. Uplinks are left as they are: they are the host's.
 *
 * That the host takes nothing is the guard's part; it is set here once more so that no packet of a site gets
 * through when somebody flushes the host's rules, until the guard stands again.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import * as z from 'zod';
import type { HostDevice, HostSetup } from '../compile/host-setup.ts';
import { CommandError, runCommand } from './command.ts';
import { type HostState, type LinkState, type MadeLink, writeHostState } from './host-state.ts';
import { linkArguments, linkEnds } from './kernel-links.ts';
import {
  mergeRanges,
  readReservedPorts,
  reservedPorts,
  subtractRanges,
  writeReservedPorts,
} from './reserved-ports.ts';

const linkSchema = z.object({
  ifindex: z.int(),
  ifname: z.string(),
  flags: z.array(z.string()),
  mtu: z.int(),
  linkinfo: z.object({ info_kind: z.string().optional() }).optional(),
});

/**
 * Settings of an interface that is a site's. A host without an address on it has no route back to any sender: with
 * `rp_filter` it drops whatever comes, be it for the host or to be forwarded.
 */
const IPV4_SETTINGS: Readonly<Record<string, string>> = { forwarding: '0', rp_filter: '1' };

/** For the end of whoever is attached to a TUN device. */
const DELETE_TIMEOUT_MS = 3000;

/** Interfaces and reserved ports of one network namespace. */
export class Links {
  readonly #statePath: string;
  #state: HostState;
  readonly #refused = new Map<string, string>();

  /** @param state what is changed already; each change is written to `statePath` first. */
  constructor(statePath: string, state: HostState) {
    this.#statePath = statePath;
    this.#state = state;
  }

  get state(): HostState {
    return this.#state;
  }

  /** Tunnel interfaces that the kernel would not make, by name: what it said. */
  get refused(): Readonly<Record<string, string>> {
    return Object.fromEntries(this.#refused);
  }

  /**
   * Does what the set-up needs and is not done yet. What it takes another look at the host for, such as an interface
   * that has just been made and that the guard must know before it is set up, is done by the next call.
   *
   * @returns whether an interface was made or changed.
   * @throws CommandError
   */
  async take(setup: HostSetup): Promise<boolean> {
    const present = await showLinks();
    const made = await this.#makeTuns(setup, present);
    const tunnelsMade = await this.#makeTunnels(setup, present);
    const taken = await this.#takeLinks(setup, present);
    this.#reservePorts(reservedPorts(setup));
    return made || tunnelsMade || taken;
  }

  /** `down`, first part: nothing moves any more on what we set up. */
  async setDown(): Promise<void> {
    const commands = [
      ...this.#state.links.filter(({ up }) => !up).map(({ name }) => `link set dev ${name} down`),
      ...[...this.#state.tuns, ...this.#state.madeLinks.map(({ name }) => name)].map(
        (name) => `link set dev ${name} down`,
      ),
    ];
    await ipBatch(commands, { mayFail: true });
  }

  /** `down`, second part: everything is as it was before us. What is gone is passed over. */
  async giveBackAll(): Promise<void> {
    await this.#giveBack(this.#state.links, this.#state.tuns);
    await this.#deleteTunnels(this.#state.madeLinks);
    this.#reservePorts([]);
  }

  async #makeTuns(setup: HostSetup, present: ReadonlyMap<string, ShownLink>): Promise<boolean> {
    const wanted = setup.devices.filter((device) => device.role === 'tun' && device.present);
    const missing = wanted.filter(({ name }) => !present.has(name));
    this.#write({
      ...this.#state,
      tuns: [...new Set([...this.#state.tuns, ...missing.map(({ name }) => name)])],
    });
    await ipBatch(missing.map(({ name }) => `tuntap add dev ${name} mode tun vnet_hdr`));
    const changed = wanted.filter(({ name, mtu }) => {
      const link = present.get(name);
      return link === undefined || !link.flags.includes('UP') || link.mtu !== mtu;
    });
    // Without address generation, or router solicitations are the first packets read.
    await ipBatch(
      changed.flatMap(({ name, mtu }) => [
        ...(readDisableIpv6(name) === null ? [] : [`link set dev ${name} addrgenmode none`]),
        `link set dev ${name} mtu ${mtu} txqueuelen 1000 up`,
      ]),
    );
    return changed.length > 0;
  }

  /** Interfaces of the kernel's tunnels, down: see {@link take}. */
  async #makeTunnels(setup: HostSetup, present: ReadonlyMap<string, ShownLink>): Promise<boolean> {
    const wanted = setup.devices.flatMap((device): (MadeLink & { mtu: number })[] => {
      if (device.role !== 'exclusive' || device.made === undefined) return [];
      const { link } = device.made;
      return [{ name: device.name, mtu: device.mtu, arguments: linkArguments(link), ends: linkEnds(link) }];
    });
    const known = this.#state.madeLinks;
    const missing = wanted.filter(
      (link) =>
        !present.has(link.name) ||
        !known.some((other) => other.name === link.name && other.arguments === link.arguments),
    );
    // What has the name, left by a run whose files are gone, or is ours and has the same ends: the kernel takes one.
    const inTheWay = [
      ...missing.filter(({ name }) => present.has(name)),
      ...known.filter((old) => missing.some(({ name, ends }) => name !== old.name && ends === old.ends)),
    ];
    await this.#deleteTunnels(inTheWay);
    const isMissing = new Set(missing.map(({ name }) => name));
    this.#write({
      ...this.#state,
      madeLinks: [
        ...this.#state.madeLinks.filter(({ name }) => !isMissing.has(name)),
        ...missing.map(({ name, arguments: text, ends }) => ({ name, arguments: text, ends })),
      ],
    });
    const changed = await this.#addTunnels(missing);
    await ipBatch(
      wanted
        .filter(({ name, mtu }) => !isMissing.has(name) && present.get(name)?.mtu !== mtu)
        .map(({ name, mtu }) => `link set dev ${name} mtu ${mtu}`),
    );
    return changed || inTheWay.length > 0;
  }

  /** One that the kernel refuses is noted, and keeps no other from being made. Whether anything is new. */
  async #addTunnels(links: readonly (MadeLink & { mtu: number })[]): Promise<boolean> {
    const refusals = await attemptBatch(
      links.map(({ name, mtu, arguments: text }) => `link add name ${name} mtu ${mtu} ${text}`),
    );
    const isNew = links.filter(
      ({ name }, at) => refusals.get(at) !== this.#refused.get(name) || !refusals.has(at),
    );
    for (const [at, { name }] of links.entries()) {
      const refusal = refusals.get(at);
      if (refusal === undefined) this.#refused.delete(name);
      else this.#refused.set(name, refusal);
    }
    const refused = new Set([...refusals.keys()].map((at) => links[at]!.name));
    this.#write({
      ...this.#state,
      madeLinks: this.#state.madeLinks.filter(({ name }) => !refused.has(name)),
    });
    return isNew.length > 0;
  }

  async #deleteTunnels(links: readonly MadeLink[]): Promise<void> {
    if (links.length === 0) return;
    // Gone already: somebody else has deleted it.
    await ipBatch(
      links.map(({ name }) => `link del dev ${name}`),
      { mayFail: true },
    );
    const names = new Set(links.map(({ name }) => name));
    this.#write({
      ...this.#state,
      madeLinks: this.#state.madeLinks.filter(({ name }) => !names.has(name)),
    });
  }

  async #takeLinks(setup: HostSetup, present: ReadonlyMap<string, ShownLink>): Promise<boolean> {
    const wanted = setup.devices.filter((device) => device.role === 'exclusive' && device.present);
    const fresh = wanted.filter(({ name }) => {
      const link = present.get(name);
      return (
        link !== undefined &&
        !this.#state.madeLinks.some((made) => made.name === name) &&
        !this.#state.links.some((known) => known.name === name && known.ifindex === link.ifindex)
      );
    });
    if (fresh.length > 0) {
      const names = new Set(fresh.map(({ name }) => name));
      const recorded = fresh.map(({ name }) => recordLink(present.get(name)!));
      this.#write({
        ...this.#state,
        links: [...this.#state.links.filter(({ name }) => !names.has(name)), ...recorded],
      });
    }
    // Also what was ours already: somebody may have set it down, or us back.
    const changed = wanted.filter((device) => {
      const link = present.get(device.name);
      return link !== undefined && !isTaken(device, link);
    });
    for (const device of changed) {
      if (isEthernet(device)) writeDisableIpv6(device.name, '1');
      writeIpv4Settings(device.name, IPV4_SETTINGS);
    }
    await ipBatch(
      changed.map((device) => `link set dev ${device.name} ${isEthernet(device) ? 'arp off ' : ''}up`),
    );
    return changed.length > 0;
  }

  /** Gives back what the set-up does not name any more: when the data plane has let go of it. */
  async giveBackOthers(setup: HostSetup): Promise<void> {
    const names = new Set(setup.devices.filter(({ role }) => role !== 'shared').map(({ name }) => name));
    await this.#giveBack(
      this.#state.links.filter(({ name }) => !names.has(name)),
      this.#state.tuns.filter((name) => !names.has(name)),
    );
    await this.#deleteTunnels(this.#state.madeLinks.filter(({ name }) => !names.has(name)));
  }

  async #giveBack(links: readonly LinkState[], tuns: readonly string[]): Promise<void> {
    if (links.length === 0 && tuns.length === 0) return;
    const present = await showLinks();
    const same = links.filter(({ name, ifindex }) => present.get(name)?.ifindex === ifindex);
    // Set down before IPv6 comes back, so that no address is made on what was down before.
    await ipBatch(
      same.map(({ name, arp, up }) => `link set dev ${name} arp ${arp ? 'on' : 'off'} ${up ? 'up' : 'down'}`),
      { mayFail: true },
    );
    for (const { name, disableIpv6, ipv4 } of same) {
      if (disableIpv6 !== null) writeDisableIpv6(name, disableIpv6);
      writeIpv4Settings(name, ipv4);
    }
    await deleteTuns(tuns);
    this.#write({
      ...this.#state,
      links: this.#state.links.filter((link) => !links.includes(link)),
      tuns: this.#state.tuns.filter((name) => !tuns.includes(name)),
    });
  }

  #reservePorts(wanted: ReturnType<typeof reservedPorts>): void {
    const present = readReservedPorts();
    const others = subtractRanges(present, this.#state.reservedPorts);
    // What an administrator had reserved already is not ours, and stays at the end.
    const ours = subtractRanges(wanted, others);
    if (JSON.stringify(ours) !== JSON.stringify(this.#state.reservedPorts)) {
      this.#write({ ...this.#state, reservedPorts: mergeRanges([...this.#state.reservedPorts, ...ours]) });
    }
    const merged = mergeRanges([...others, ...ours]);
    if (JSON.stringify(merged) !== JSON.stringify(mergeRanges(present))) writeReservedPorts(merged);
    if (JSON.stringify(ours) !== JSON.stringify(this.#state.reservedPorts)) {
      this.#write({ ...this.#state, reservedPorts: ours });
    }
  }

  #write(state: HostState): void {
    if (JSON.stringify(state) === JSON.stringify(this.#state)) return;
    writeHostState(this.#statePath, state);
    this.#state = state;
  }
}

type ShownLink = z.infer<typeof linkSchema>;

async function showLinks(): Promise<Map<string, ShownLink>> {
  const json: unknown = JSON.parse(await runCommand('ip', ['-json', '-details', 'link', 'show']));
  const links = z
    .array(z.unknown())
    .parse(json)
    .filter((entry) => typeof entry === 'object' && entry !== null && 'ifname' in entry)
    .map((entry) => linkSchema.parse(entry));
  return new Map(links.map((link) => [link.ifname, link]));
}

function recordLink(link: ShownLink): LinkState {
  return {
    name: link.ifname,
    ifindex: link.ifindex,
    up: link.flags.includes('UP'),
    arp: !link.flags.includes('NOARP'),
    disableIpv6: readDisableIpv6(link.ifname),
    ipv4: readIpv4Settings(link.ifname),
  };
}

/** Its frames are ours, and the host must not speak ARP or IPv6 there; on others the guard's word is enough. */
function isEthernet(device: HostDevice): boolean {
  return device.role === 'exclusive' && device.kind === 'ethernet';
}

function isTaken(device: HostDevice, link: ShownLink): boolean {
  if (!link.flags.includes('UP')) return false;
  const ipv4 = readIpv4Settings(device.name);
  if (Object.entries(IPV4_SETTINGS).some(([setting, value]) => ipv4[setting] !== value)) return false;
  if (!isEthernet(device)) return true;
  return link.flags.includes('NOARP') && readDisableIpv6(device.name) !== '0';
}

async function ipBatch(
  commands: readonly string[],
  options: { readonly mayFail?: boolean } = {},
): Promise<void> {
  if (commands.length === 0) return;
  await runCommand('ip', ['-force', '-batch', '-'], { ...options, input: `${commands.join('\n')}\n` });
}

/** Runs commands that may fail, each for itself. By number, what `ip` said of those that did. */
async function attemptBatch(commands: readonly string[]): Promise<Map<number, string>> {
  try {
    await ipBatch(commands);
    return new Map();
  } catch (error) {
    if (!(error instanceof CommandError) || error.code !== 'command_failed') throw error;
    // What is said of a command stands in front of the line that names it: `Command failed -:2`.
    const refusals = new Map<number, string>();
    let said: string[] = [];
    for (const line of error.stderr.split('\n')) {
      const number = /^Command failed -:(\d+)$/.exec(line)?.[1];
      if (number === undefined) said.push(line.trim());
      else {
        refusals.set(Number(number) - 1, said.join(' ').trim());
        said = [];
      }
    }
    if (refusals.size === 0) throw error;
    return refusals;
  }
}

/**
 * Deletes TUN devices, if they are there.
 *
 * @throws Error if something uses one and does not let go of it.
 */
async function deleteTuns(names: readonly string[]): Promise<void> {
  const deadline = performance.now() + DELETE_TIMEOUT_MS;
  for (;;) {
    const present = names.length > 0 ? await showLinks() : undefined;
    const left = names.filter((name) => present?.get(name)?.linkinfo?.info_kind === 'tun');
    if (left.length === 0) return;
    if (performance.now() > deadline) {
      throw new Error(`${left.join(', ')} cannot be deleted: another program uses it`);
    }
    // One that is still attached to a data plane which has just ended is busy for a moment.
    await ipBatch(
      left.map((name) => `tuntap del dev ${name} mode tun`),
      { mayFail: true },
    );
  }
}

function disableIpv6Path(name: string): string {
  return `/proc/sys/net/ipv6/conf/${name}/disable_ipv6`;
}

/** null: the kernel has no IPv6. */
function readDisableIpv6(name: string): '0' | '1' | null {
  if (!existsSync(disableIpv6Path(name))) return null;
  return readFileSync(disableIpv6Path(name), 'latin1').trim() === '0' ? '0' : '1';
}

function writeDisableIpv6(name: string, value: '0' | '1'): void {
  if (existsSync(disableIpv6Path(name))) writeFileSync(disableIpv6Path(name), `${value}\n`);
}

function ipv4SettingPath(name: string, setting: string): string {
  return `/proc/sys/net/ipv4/conf/${name}/${setting}`;
}

/** Without those of an interface that has just gone. */
function readIpv4Settings(name: string): Record<string, string> {
  return Object.fromEntries(
    Object.keys(IPV4_SETTINGS)
      .map((setting) => [setting, ipv4SettingPath(name, setting)] as const)
      .filter(([, path]) => existsSync(path))
      .map(([setting, path]) => [setting, readFileSync(path, 'latin1').trim()]),
  );
}

function writeIpv4Settings(name: string, values: Readonly<Record<string, string>>): void {
  for (const [setting, value] of Object.entries(values)) {
    const path = ipv4SettingPath(name, setting);
    if (existsSync(path)) writeFileSync(path, `${value}\n`);
  }
}
