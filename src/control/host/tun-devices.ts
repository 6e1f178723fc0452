/**
 * TUN devices that homeward makes: persistent, so that they outlive a data plane, and without addresses.
 *
 * Neighbours: `links.ts` (the owner), `ip-batch.ts`, `host-record.ts`.
 */
import type { HostSetup } from '../compile/host-setup.ts';
import type { HostRecord } from './host-record.ts';
import { readDisableIpv6 } from './interface-settings.ts';
import { ipBatch, type ShownLink, showLinks } from './ip-batch.ts';

/** For the end of whoever is attached to a TUN device. */
const DELETE_TIMEOUT_MS = 3000;

/**
 * Makes those that the set-up needs and are not there.
 *
 * @returns whether one was made or changed.
 * @throws CommandError
 */
export async function makeTuns(
  setup: HostSetup,
  present: ReadonlyMap<string, ShownLink>,
  record: HostRecord,
): Promise<boolean> {
  const wanted = setup.devices.filter((device) => device.role === 'tun' && device.present);
  const missing = wanted.filter(({ name }) => !present.has(name));
  record.change({ tuns: [...new Set([...record.state.tuns, ...missing.map(({ name }) => name)])] });
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

/**
 * Deletes TUN devices, if they are there.
 *
 * @throws Error if something uses one and does not let go of it.
 */
export async function deleteTuns(names: readonly string[]): Promise<void> {
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
