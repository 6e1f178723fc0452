/**
 * Network namespaces of diversions, each with a wire to it, and nothing else inside.
 *
 * ```
 *   our namespace                    hwd-8c1f02aa-4026531840
 *   data plane ── hwd-8c1f02aa ═══ out   the proxy's address, every site's address, one route: to the router
 *                                         proxy
 * ```
 *
 * Whoever is inside reaches the data plane and nobody else; its kernel forwards nothing. One that somebody has deleted, or
 * that cannot be entered any more, is made anew with everything around it. They stay when the gateway is stopped, and go with
 * `down`, and with them whoever runs inside. One that cannot be made keeps nothing else from being done; it is tried again.
 *
 * Neighbours: `links.ts` (the owner), `../diversion-names.ts`, `plugin/diversion-addresses.ts`, `host-record.ts`.
 */
import { closeSync, fstatSync, openSync, readdirSync, statSync } from 'node:fs';
import { DIVERSION_PROXY, DIVERSION_ROUTER, DIVERSION_SITES } from '../../plugin/diversion-addresses.ts';
import type { ExclusiveDevice, HostSetup } from '../compile/host-setup.ts';
import { diversionNamespace } from '../diversion-names.ts';
import { networkNamespaceInode } from '../runtime/runtime-directory.ts';
import { CommandError, runCommand } from './command.ts';
import type { HostRecord } from './host-record.ts';
import { ipBatch, type ShownLink } from './ip-batch.ts';

/** Until it is tried again to make what could not be made. */
const RETRY_MS = 5000;
/** What a namespace's end of the wire is called. */
const INSIDE = 'out';

type DiversionDevice = ExclusiveDevice & Required<Pick<ExclusiveDevice, 'diversion'>>;

export class Namespaces {
  readonly #record: HostRecord;
  readonly #instance: number;
  readonly #generations = new Map<string, number>();
  readonly #refusals = new Map<string, string>();
  /** By device: the last generation. */
  readonly #made = new Map<string, number>();
  /** By device: a descriptor of the namespace. Should its name be deleted, whoever is inside can be found all the same. */
  readonly #held = new Map<string, number>();

  constructor(record: HostRecord, instance = networkNamespaceInode()) {
    this.#record = record;
    this.#instance = instance;
  }

  /**
   * How often the namespace behind a device was found or made by this process; whoever ran in the one before runs
   * nowhere. 0: it is not there.
   */
  generation(device: string): number {
    return this.#generations.get(device) ?? 0;
  }

  /** Devices of those that cannot be made: what was said. */
  get refused(): Readonly<Record<string, string>> {
    return Object.fromEntries(this.#refusals);
  }

  /** Milliseconds until it is to be tried again; undefined: all are made. */
  get retryInMs(): number | undefined {
    return this.#refusals.size === 0 ? undefined : RETRY_MS;
  }

  /**
   * Makes those that the set-up needs and are not there. Their devices are down until the guard has its hook.
   *
   * @returns whether anything is new: one was made, or {@link refused} says something else.
   * @throws CommandError if there is no `ip`
   */
  async make(setup: HostSetup, present: ReadonlyMap<string, ShownLink>): Promise<boolean> {
    const refusedBefore = JSON.stringify(this.refused);
    this.#refusals.clear();
    const missing: DiversionDevice[] = [];
    for (const device of setup.devices.filter(isDiversion)) {
      if (present.has(device.name) && (await this.#isWhole(device.name))) this.#found(device.name);
      else missing.push(device);
    }
    if (missing.length === 0) return refusedBefore !== '{}';
    const names = missing.map(({ name }) => name);
    this.#record.change({ namespaces: [...new Set([...this.#record.state.namespaces, ...names])] });
    await this.#remove(names);
    for (const device of missing) {
      const { name } = device;
      try {
        await this.#make(device);
        this.#hold(name);
        this.#generations.set(name, (this.#made.get(name) ?? 0) + 1);
        this.#made.set(name, this.generation(name));
      } catch (error) {
        if (!(error instanceof CommandError) || error.code !== 'command_failed') throw error;
        this.#refusals.set(name, error.stderr.trim().split('\n')[0] ?? '');
        await this.#remove([name]);
        this.#generations.delete(name);
      }
    }
    return (
      missing.some(({ name }) => !this.#refusals.has(name)) || JSON.stringify(this.refused) !== refusedBefore
    );
  }

  /** Deletes those behind these devices, and ends whoever is inside. */
  async delete(devices: readonly string[]): Promise<void> {
    if (devices.length === 0) return;
    await this.#remove(devices);
    for (const device of devices) this.#generations.delete(device);
    const { namespaces } = this.#record.state;
    this.#record.change({ namespaces: namespaces.filter((name) => !devices.includes(name)) });
  }

  #found(device: string): void {
    if (this.#generations.has(device)) return;
    this.#hold(device);
    this.#generations.set(device, (this.#made.get(device) ?? 0) + 1);
    this.#made.set(device, this.generation(device));
  }

  #hold(device: string): void {
    try {
      this.#held.set(device, openSync(`/run/netns/${this.#namespace(device)}`, 'r'));
    } catch {
      // Deleted in this moment: it is not whole the next time.
    }
  }

  async #isWhole(device: string): Promise<boolean> {
    if (!this.#record.state.namespaces.includes(device)) return false;
    const shown = await runCommand('ip', ['-n', this.#namespace(device), '-brief', 'link', 'show', INSIDE], {
      mayFail: true,
    });
    return /\bUP\b/.test(shown);
  }

  #namespace(device: string): string {
    return diversionNamespace(device, this.#instance);
  }

  async #remove(devices: readonly string[]): Promise<void> {
    for (const device of devices) {
      await endProcesses(this.#namespace(device));
      const held = this.#held.get(device);
      if (held === undefined) continue;
      endProcessesIn(held);
      closeSync(held);
      this.#held.delete(device);
    }
    await ipBatch(
      devices.flatMap((device) => [`link del dev ${device}`, `netns del ${this.#namespace(device)}`]),
      { mayFail: true },
    );
  }

  async #make({ name, mtu, diversion }: DiversionDevice): Promise<void> {
    const namespace = this.#namespace(name);
    await ipBatch([
      `netns add ${namespace}`,
      `link add name ${name} mtu ${mtu} address ${diversion.mac} type veth peer name ${INSIDE} mtu ${mtu} address ${diversion.proxyMac} netns ${namespace}`,
    ]);
    const inside = (lines: readonly string[], mayFail: boolean): Promise<string> =>
      runCommand('ip', ['-force', '-n', namespace, '-batch', '-'], {
        input: `${lines.join('\n')}\n`,
        mayFail,
      });
    await runCommand('ip', ['netns', 'exec', namespace, 'sh', '-c', SETTINGS], { mayFail: true });
    await inside(
      [
        'link set lo up',
        `link set ${INSIDE} up`,
        `address add ${DIVERSION_PROXY.ipv4}/32 dev ${INSIDE}`,
        `route add ${DIVERSION_ROUTER.ipv4}/32 dev ${INSIDE}`,
        `route add default via ${DIVERSION_ROUTER.ipv4} dev ${INSIDE} src ${DIVERSION_PROXY.ipv4}`,
        `route add local ${DIVERSION_SITES.ipv4} dev lo`,
      ],
      false,
    );
    // There may be a kernel without IPv6.
    await inside(
      [
        `address add ${DIVERSION_PROXY.ipv6}/128 dev ${INSIDE} nodad`,
        `route add ${DIVERSION_ROUTER.ipv6}/128 dev ${INSIDE}`,
        `route add default via ${DIVERSION_ROUTER.ipv6} dev ${INSIDE} src ${DIVERSION_PROXY.ipv6}`,
        `route add local ${DIVERSION_SITES.ipv6} dev lo`,
      ],
      true,
    );
  }
}

/**
 * Nothing is forwarded; a proxy may bind to every site's address, of IPv6 too, where a route alone does not let it; what was
 * learnt of the path to one client's source says nothing of the next one's, which may be another site's.
 */
const SETTINGS = [
  ['net/ipv4/tcp_no_metrics_save', 1],
  ['net/ipv4/ip_forward', 0],
  ['net/ipv6/conf/all/forwarding', 0],
  ['net/ipv6/ip_nonlocal_bind', 1],
  [`net/ipv6/conf/${INSIDE}/accept_ra`, 0],
  [`net/ipv6/conf/${INSIDE}/accept_dad`, 0],
  [`net/ipv6/conf/${INSIDE}/router_solicitations`, 0],
]
  .map(([path, value]) => `echo ${value} > /proc/sys/${path}`)
  .join('; ');

/** Ends whoever runs in a namespace, if that is there. */
export async function endProcesses(namespace: string): Promise<void> {
  const pids = await runCommand('ip', ['netns', 'pids', namespace], { mayFail: true });
  for (const pid of pids.split('\n').map(Number)) endProcess(pid);
}

/** The same for one that may have no name any more. While the descriptor is open, no other has its number. */
function endProcessesIn(descriptor: number): void {
  const { dev, ino } = fstatSync(descriptor);
  for (const pid of readdirSync('/proc').map(Number)) {
    try {
      const its = statSync(`/proc/${pid}/ns/net`);
      if (its.dev === dev && its.ino === ino) endProcess(pid);
    } catch {
      // No process, or one that has just ended.
    }
  }
}

function endProcess(pid: number): void {
  if (!Number.isInteger(pid) || pid <= 1 || pid === process.pid) return;
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has just ended.
  }
}

function isDiversion(device: HostSetup['devices'][number]): device is DiversionDevice {
  return device.role === 'exclusive' && device.diversion !== undefined;
}
