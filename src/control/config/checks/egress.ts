/** What must hold within an egress: its addresses, next hops and port forwards. What the host has is not known here. */
import { prefixContains } from '../../../wire/address.ts';
import type { ConfigPath } from '../config.ts';
import type { Findings } from '../findings.ts';
import { familyKey, familyOf, knownAddress, knownPrefix } from '../ip.ts';
import { type ConfigDocument, MAX_POOL_ADDRESSES } from '../schema.ts';
import { nearest } from '../suggest.ts';

type EgressDocument = ConfigDocument['egress'][number];
type PortForwardDocument = EgressDocument['port_forwards'][number];

export function checkEgress(document: ConfigDocument, findings: Findings): void {
  const owners = new Map<string, string>();
  document.egress.forEach((egress, at) => {
    const path = ['egress', at];
    checkAddresses(egress, path, owners, findings);
    checkNextHops(egress, path, findings);
    checkPortForwards(document, egress, path, findings);
  });
}

function checkAddresses(
  egress: EgressDocument,
  path: ConfigPath,
  owners: Map<string, string>,
  findings: Findings,
): void {
  if (egress.addresses === 'auto') return;
  const total = egress.addresses.flat().length;
  if (total === 0) {
    findings.problem([...path, 'addresses'], 'is empty; write auto or at least one address');
  } else if (total > MAX_POOL_ADDRESSES) {
    findings.problem(
      [...path, 'addresses'],
      `${total} addresses are too many; write at most ${MAX_POOL_ADDRESSES} for one egress`,
    );
  }
  egress.addresses.forEach((entry, at) => {
    for (const address of entry) {
      const owner = owners.get(address);
      owners.set(address, egress.name);
      const family = familyKey(address);
      const addressPath = [...path, 'addresses', at];
      if (owner !== undefined) {
        findings.problem(
          addressPath,
          `${address} already belongs to egress ${owner}; write each address once`,
        );
        return;
      }
      if (egress.nat[family] === 'none') {
        findings.problem(
          addressPath,
          `${address} is not used, because nat.${family} is none; leave it out or write nat.${family}: source`,
        );
        return;
      }
    }
  });
}

function checkNextHops(egress: EgressDocument, path: ConfigPath, findings: Findings): void {
  if (egress.next_hop === 'auto') return;
  if (egress.next_hop.length === 0) {
    findings.problem([...path, 'next_hop'], 'is empty; write auto or an address for each family');
  }
  const seen = new Map<number, string>();
  egress.next_hop.forEach((text, at) => {
    const family = familyOf(text);
    const other = seen.get(family);
    seen.set(family, text);
    if (other === undefined) return;
    findings.problem(
      [...path, 'next_hop', at],
      `${text} is a second IPv${family} next hop beside ${other}; write one a family`,
    );
  });
}

function checkPortForwards(
  document: ConfigDocument,
  egress: EgressDocument,
  path: ConfigPath,
  findings: Findings,
): void {
  const seen = new Map<string, number>();
  egress.port_forwards.forEach((forward, at) => {
    const forwardPath = [...path, 'port_forwards', at];
    checkTarget(document, forward, forwardPath, findings);
    checkExternal(egress, forward, forwardPath, findings);
    const family = familyOf(forward.address ?? forward.to.address);
    const identity = `${forward.protocol} ${forward.address ?? family} ${forward.port}`;
    const other = seen.get(identity);
    if (other === undefined) {
      seen.set(identity, at);
      return;
    }
    const line = findings.line([...path, 'port_forwards', other]);
    findings.problem(
      [...forwardPath, 'port'],
      `${forward.port} is already forwarded in line ${line}; write each protocol, address and port once`,
    );
  });
}

function checkTarget(
  document: ConfigDocument,
  forward: PortForwardDocument,
  path: ConfigPath,
  findings: Findings,
): void {
  const { site: siteName, address } = forward.to;
  const site = document.sites.find(({ name }) => name === siteName);
  if (!site) {
    const names = document.sites.map(({ name }) => name);
    findings.problem([...path, 'to', 'site'], `${siteName} is not a site; ${nameRemedy(siteName, names)}`);
    return;
  }
  const ip = knownAddress(address);
  if (site.prefixes.some((text) => prefixContains(knownPrefix(text), ip))) return;
  const right =
    site.prefixes.length > 0
      ? `write one in ${site.prefixes.join(' or ')}`
      : `declare prefixes for ${siteName}, which has none`;
  findings.problem([...path, 'to', 'address'], `${address} is not an address of ${siteName}; ${right}`);
}

function checkExternal(
  egress: EgressDocument,
  forward: PortForwardDocument,
  path: ConfigPath,
  findings: Findings,
): void {
  const family = familyOf(forward.to.address);
  if (egress.nat[familyKey(forward.to.address)] === 'none') {
    findings.problem(
      path,
      `forwards IPv${family}, which this egress does not translate; write nat.ipv${family}: source or leave it out`,
    );
    return;
  }
  if (forward.address === undefined) return;
  if (familyOf(forward.address) !== family) {
    findings.problem(
      [...path, 'address'],
      `${forward.address} is not of the same family as ${forward.to.address}; write an IPv${family} address`,
    );
  } else if (egress.addresses !== 'auto' && !egress.addresses.flat().includes(forward.address)) {
    findings.problem(
      [...path, 'address'],
      `${forward.address} is not an address of ${egress.name}; write one of its addresses`,
    );
  }
}

/** What to write instead of an unknown name. */
export function nameRemedy(name: string, known: readonly string[]): string {
  const near = nearest(name, known);
  if (near !== undefined) return `did you mean ${near}?`;
  return known.length > 0 ? `there are ${known.join(', ')}` : 'there are none yet';
}
