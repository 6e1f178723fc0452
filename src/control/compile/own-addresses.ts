/** Whether a tunnel's `local` is an address of this host, and what to say if not. */
import type { ConfigPath } from '../config/config.ts';
import { familyOf } from '../config/ip.ts';
import type { HostFacts } from '../facts.ts';
import { linkByName } from './devices.ts';
import type { HostFindings } from './host-findings.ts';

/** Reports it if it is not. */
export function checkOwnAddress(
  local: string,
  path: ConfigPath,
  facts: HostFacts,
  findings: HostFindings,
): boolean {
  const own = ownAddresses(facts);
  if (own.includes(local)) return true;
  const family = familyOf(local);
  const candidates = own.filter((address) => familyOf(address) === family);
  const remedy =
    candidates.length > 0
      ? `addresses here: ${candidates.join(', ')}`
      : `there is no IPv${family} address here`;
  findings.lack(path, `${local} is not an address of this host; ${remedy}`);
  return false;
}

/** The host's global addresses, in the kernel's order. */
function ownAddresses(facts: HostFacts): string[] {
  const all = Object.keys(facts.links)
    .sort()
    .flatMap((name) => linkByName(facts, name)!.addresses);
  return all.filter(({ scope }) => scope === 'global').map(({ address }) => address);
}
