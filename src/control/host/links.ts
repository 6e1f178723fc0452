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
 *
 *  absent    ------> a namespace and a wire to    ------> deleted
 *     (recorded)     it, down; up as above
 * ```
 *
 * The record is written before the change. An interface that was made anew under its name (another index) is
 * taken again, and nothing is put back on the former one. Uplinks are left as they are: they are the host's.
 *
 * Neighbours: `tun-devices.ts`, `made-links.ts`, `namespaces.ts` (what is made), `interface-settings.ts`, `ip-batch.ts` (how it is done),
 * `reserved-ports.ts`.
 *
 * That the host takes nothing is the guard's part; it is set here once more so that no packet of a site gets
 * through when somebody flushes the host's rules, until the guard stands again.
 */
import type { HostDevice, HostSetup } from '../compile/host-setup.ts';
import { HostRecord } from './host-record.ts';
import type { HostState, LinkState } from './host-state.ts';
import {
  IPV4_SETTINGS,
  readDisableIpv6,
  readIpv4Settings,
  writeDisableIpv6,
  writeIpv4Settings,
} from './interface-settings.ts';
import { ipBatch, type ShownLink, showLinks } from './ip-batch.ts';
import { isXfrm, MadeLinks } from './made-links.ts';
import { Namespaces } from './namespaces.ts';
import {
  mergeRanges,
  readReservedPorts,
  reservedPorts,
  subtractRanges,
  writeReservedPorts,
} from './reserved-ports.ts';
import { deleteTuns, makeTuns } from './tun-devices.ts';
import { addXfrmRoutes } from './xfrm-routes.ts';

/** Interfaces and reserved ports of one network namespace. */
export class Links {
  readonly #record: HostRecord;
  readonly #made: MadeLinks;
  /** Of diversions. */
  readonly namespaces: Namespaces;

  /**
   * @param state what is changed already; each change is written to `statePath` first.
   * @param now see {@link MadeLinks}
   */
  constructor(statePath: string, state: HostState, now?: () => number) {
    this.#record = new HostRecord(statePath, state);
    this.#made = new MadeLinks(this.#record, now);
    this.namespaces = new Namespaces(this.#record);
  }

  get state(): HostState {
    return this.#record.state;
  }

  /** See {@link MadeLinks.refused} and {@link Namespaces.refused}. */
  get refused(): Readonly<Record<string, string>> {
    return { ...this.#made.refused, ...this.namespaces.refused };
  }

  /** See {@link MadeLinks.retryInMs} and {@link Namespaces.retryInMs}. */
  get retryInMs(): number | undefined {
    const pauses = [this.#made.retryInMs, this.namespaces.retryInMs].filter((ms) => ms !== undefined);
    return pauses.length === 0 ? undefined : Math.min(...pauses);
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
    const made = await makeTuns(setup, present, this.#record);
    const tunnelsMade = await this.#made.make(setup, present);
    const namespacesMade = await this.namespaces.make(setup, present);
    const taken = await this.#takeLinks(setup, present);
    this.#reservePorts(reservedPorts(setup));
    return made || tunnelsMade || namespacesMade || taken;
  }

  /**
   * `down`, first part: nothing moves any more on what we set up. But for XFRM interfaces: while there are SAs for one that
   * is down, their packets come out of the uplink.
   */
  async setDown(): Promise<void> {
    const madeLinks = this.state.madeLinks.filter((link) => !isXfrm(link));
    const commands = [
      ...this.state.links.filter(({ up }) => !up).map(({ name }) => `link set dev ${name} down`),
      ...[...this.state.tuns, ...madeLinks.map(({ name }) => name), ...this.state.namespaces].map(
        (name) => `link set dev ${name} down`,
      ),
    ];
    await ipBatch(commands, { mayFail: true });
  }

  /** `down`, second part: everything is as it was before us. What is gone is passed over. */
  async giveBackAll(): Promise<void> {
    await this.#giveBack(this.state.links, this.state.tuns);
    await this.#made.delete(this.state.madeLinks);
    await this.namespaces.delete(this.state.namespaces);
    this.#reservePorts([]);
  }

  async #takeLinks(setup: HostSetup, present: ReadonlyMap<string, ShownLink>): Promise<boolean> {
    const wanted = setup.devices.filter((device) => device.role === 'exclusive' && device.present);
    const fresh = wanted.filter(({ name }) => {
      const link = present.get(name);
      return (
        link !== undefined &&
        !this.state.madeLinks.some((made) => made.name === name) &&
        !this.state.namespaces.includes(name) &&
        !this.state.links.some((known) => known.name === name && known.ifindex === link.ifindex)
      );
    });
    if (fresh.length > 0) {
      const names = new Set(fresh.map(({ name }) => name));
      const recorded = fresh.map(({ name }) => recordLink(present.get(name)!));
      this.#record.change({
        links: [...this.state.links.filter(({ name }) => !names.has(name)), ...recorded],
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
    const xfrm = this.state.madeLinks.filter((link) => isXfrm(link) && present.has(link.name));
    await addXfrmRoutes(xfrm.map(({ name }) => name));
    return changed.length > 0;
  }

  /** Gives back what the set-up does not name any more: when the data plane has let go of it. */
  async giveBackOthers(setup: HostSetup): Promise<void> {
    const names = new Set(setup.devices.filter(({ role }) => role !== 'shared').map(({ name }) => name));
    await this.#giveBack(
      this.state.links.filter(({ name }) => !names.has(name)),
      this.state.tuns.filter((name) => !names.has(name)),
    );
    await this.#made.delete(this.state.madeLinks.filter(({ name }) => !names.has(name)));
    await this.namespaces.delete(this.state.namespaces.filter((name) => !names.has(name)));
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
    this.#record.change({
      links: this.state.links.filter((link) => !links.includes(link)),
      tuns: this.state.tuns.filter((name) => !tuns.includes(name)),
    });
  }

  #reservePorts(wanted: ReturnType<typeof reservedPorts>): void {
    const present = readReservedPorts();
    const others = subtractRanges(present, this.state.reservedPorts);
    // What an administrator had reserved already is not ours, and stays at the end.
    const ours = subtractRanges(wanted, others);
    if (JSON.stringify(ours) !== JSON.stringify(this.state.reservedPorts)) {
      this.#record.change({ reservedPorts: mergeRanges([...this.state.reservedPorts, ...ours]) });
    }
    const merged = mergeRanges([...others, ...ours]);
    if (JSON.stringify(merged) !== JSON.stringify(mergeRanges(present))) writeReservedPorts(merged);
    if (JSON.stringify(ours) !== JSON.stringify(this.state.reservedPorts)) {
      this.#record.change({ reservedPorts: ours });
    }
  }
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
