/**
 * Devices that are still taken, by this run or by one before it, and that a set-up does not name as a site's any more: the
 * guard has to keep the host off them until they are given back. After a start with another configuration only the record
 * tells of them.
 *
 * So is an interface of the kernel's tunnels that somebody has renamed: by its number it is still ours. Those that are here have all
 * of their guard, also what concerns their outer packets.
 *
 * A TUN device of ours is not among them: what comes out of it was written by the data plane.
 *
 * Neighbours: `host-side.ts`, `host-state.ts` (the record).
 */
import type { ExclusiveDevice, HostSetup } from '../compile/host-setup.ts';
import type { HostFacts, LinkFacts } from '../facts.ts';
import type { HostState } from './host-state.ts';

/** What of the record the set-up leaves out, as devices whose packets nobody else gets; `index` is 0 for all. */
export function formerDevices(
  state: Pick<HostState, 'links' | 'madeLinks' | 'namespaces'>,
  setup: HostSetup,
  { links }: Pick<HostFacts, 'links'>,
): ExclusiveDevice[] {
  const named = new Set(setup.devices.flatMap(({ role, name }) => (role === 'exclusive' ? [name] : [])));
  const byName = (name: string): LinkFacts | undefined =>
    Object.hasOwn(links, name) ? links[name] : undefined;
  const present = Object.values(links);
  const taken = state.links.map(({ name, ifindex }) => ({
    name,
    // By its number first, since it may have another name now.
    link: present.find((link) => link.ifindex === ifindex) ?? byName(name),
  }));
  const made = state.madeLinks.map(({ name, ifindex, tunnel }) => {
    const there = Object.entries(links).find(([, link]) => link.ifindex === ifindex);
    const [presentName, link] = there ?? [name, byName(name)];
    const kernelTunnel = tunnel === null ? {} : { made: { ...tunnel, isUp: link?.up ?? false } };
    return { name: presentName, link, ...kernelTunnel };
  });
  const proxied = state.namespaces.map((name) => ({ name, link: byName(name) }));
  return [...taken, ...made, ...proxied]
    .filter(({ name }) => !named.has(name))
    .map(({ name, link, ...kernelTunnel }) => ({
      role: 'exclusive',
      kind: link?.kind === 'ethernet' ? 'ethernet' : 'ip',
      index: 0,
      name,
      ifindex: link?.ifindex ?? 0,
      mtu: link?.mtu ?? 0,
      present: link !== undefined,
      tunnel: '',
      ...kernelTunnel,
    }));
}
