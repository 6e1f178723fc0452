/** What must hold within a tunnel, and between tunnels with the same outer addresses. */
import { prefixContains } from '../../../wire/address.ts';
import type { ConfigPath } from '../config.ts';
import type { Findings } from '../findings.ts';
import { familyOf, isLinkLocal, knownAddress, knownPrefix } from '../ip.ts';
import type { ConfigDocument } from '../schema.ts';
import { checkIke, checkIpsec, KnownEnds } from './ipsec.ts';

type SiteDocument = ConfigDocument['sites'][number];
type TunnelDocument = SiteDocument['tunnels'][number];
type GreDocument = Extract<TunnelDocument, { type: 'gre' }>;
type InterconnectDocument = Extract<TunnelDocument, { type: 'interconnect' }>;

/** IPv6 needs links of at least so many bytes (RFC 8200, section 5). */
const MIN_IPV6_MTU = 1280;

export function checkTunnels(document: ConfigDocument, findings: Findings): void {
  const greEndpoints = new Map<string, string>();
  const greEnds = new Map<string, GreDocument>();
  const ipsecEnds = new KnownEnds();
  document.sites.forEach((site, siteAt) => {
    checkSitePrefixes(site, ['sites', siteAt, 'prefixes'], findings);
    site.tunnels.forEach((tunnel, at) => {
      const path = ['sites', siteAt, 'tunnels', at];
      checkInterfaceAddresses(tunnel, path, findings);
      checkMtu(site, tunnel, path, findings);
      checkHealth(tunnel, path, findings);
      if (tunnel.type === 'gre') {
        checkGre(tunnel, path, greEndpoints, findings);
        checkGreWithinIpsec(tunnel, path, { ipsec: ipsecEnds, gre: greEnds }, findings);
      }
      if (tunnel.type === 'ipsec') checkIpsec(tunnel, path, ipsecEnds, findings);
      if (tunnel.type === 'interconnect') checkNextHops(tunnel, path, findings);
    });
  });
}

function checkSitePrefixes(site: SiteDocument, path: ConfigPath, findings: Findings): void {
  site.prefixes.forEach((prefix, at) => {
    if (site.prefixes.indexOf(prefix) === at) return;
    findings.problem([...path, at], `${prefix} stands here twice; write each prefix once`);
  });
}

function checkInterfaceAddresses(tunnel: TunnelDocument, path: ConfigPath, findings: Findings): void {
  const addresses = tunnel.interface_address.map(({ address }) => address);
  addresses.forEach((address, at) => {
    if (addresses.indexOf(address) === at) return;
    findings.problem(
      [...path, 'interface_address', at],
      `${address} stands here twice; write each address once`,
    );
  });
}

function checkMtu(site: SiteDocument, tunnel: TunnelDocument, path: ConfigPath, findings: Findings): void {
  if (tunnel.mtu === undefined || tunnel.mtu >= MIN_IPV6_MTU) return;
  const texts = [...site.prefixes, ...tunnel.interface_address.map(({ prefix }) => prefix)];
  const ipv6 = texts.find((text) => knownPrefix(text).family === 6);
  if (ipv6 === undefined) return;
  findings.problem(
    [...path, 'mtu'],
    `${tunnel.mtu} is too small for IPv6 (${ipv6}); write at least ${MIN_IPV6_MTU}`,
  );
}

function checkHealth({ health, ...tunnel }: TunnelDocument, path: ConfigPath, findings: Findings): void {
  const { target } = health;
  if (target === undefined) return;
  const targetPath = [...path, 'health', 'target'];
  const family = familyOf(target);
  const own = tunnel.interface_address.filter(({ address }) => familyOf(address) === family);
  if (own.length === 0) {
    findings.problem(
      targetPath,
      `${target} cannot be asked without an address to ask from; add an IPv${family} interface_address`,
    );
  } else if (own.some(({ address }) => address === target)) {
    findings.problem(
      targetPath,
      `${target} is the gateway's own interface_address; write an address of the site's`,
    );
  }
}

function checkGre(
  tunnel: GreDocument,
  path: ConfigPath,
  endpoints: Map<string, string>,
  findings: Findings,
): void {
  const { local, remote, key } = tunnel;
  const family = familyOf(local);
  if (familyOf(remote) !== family) {
    findings.problem(
      [...path, 'remote'],
      `${remote} is not of the same family as local (${local}); write an IPv${family} address`,
    );
  } else if (local === remote) {
    findings.problem([...path, 'remote'], `${remote} is local as well; write the other end's address`);
  }
  const identity = `${local} ${remote} ${key ?? 'none'}`;
  const other = endpoints.get(identity);
  if (other === undefined) {
    endpoints.set(identity, tunnel.name);
    return;
  }
  const what = key === undefined ? 'no key' : `key ${key}`;
  findings.problem(
    [...path, key === undefined ? 'remote' : 'key'],
    `${key ?? remote} does not tell this tunnel from ${other} (same local, remote and ${what}); write another key`,
  );
}

/** IPsec tells GRE tunnels by their ends alone: keys are within what it protects. */
function checkGreWithinIpsec(
  tunnel: GreDocument,
  path: ConfigPath,
  ends: { readonly ipsec: KnownEnds; readonly gre: Map<string, GreDocument> },
  findings: Findings,
): void {
  const { name, local, remote, driver, ipsec } = tunnel;
  const addresses = `${local} ${remote}`;
  const other = ends.gre.get(addresses);
  ends.gre.set(addresses, other ?? tunnel);
  if (other !== undefined && (other.ipsec !== undefined || ipsec !== undefined)) {
    findings.problem(
      [...path, ...(ipsec === undefined ? ['remote'] : ['ipsec'])],
      `tunnel ${other.name} has the same local and remote, and IPsec does not tell GRE tunnels by their keys; write another local or remote for one of them`,
    );
  }
  if (ipsec === undefined) return;
  if (driver === 'userspace') {
    findings.problem(
      [...path, 'driver'],
      'userspace sends GRE past the kernel, which is to encrypt it; write kernel or auto',
    );
  }
  checkIke({ name, local, remote, ike: ipsec.ike }, [...path, 'ipsec', 'ike'], ends.ipsec, findings);
}

function checkNextHops(tunnel: InterconnectDocument, path: ConfigPath, findings: Findings): void {
  const seen = new Map<number, string>();
  tunnel.next_hop.forEach((text, at) => {
    const hop = knownAddress(text);
    const hopPath = [...path, 'next_hop', at];
    const other = seen.get(hop.family);
    if (other !== undefined) {
      findings.problem(
        hopPath,
        `${text} is a second IPv${hop.family} next hop beside ${other}; write one a family`,
      );
      return;
    }
    seen.set(hop.family, text);
    const own = tunnel.interface_address.filter((entry) => familyOf(entry.address) === hop.family);
    if (own.some((entry) => entry.address === text)) {
      findings.problem(
        hopPath,
        `${text} is the gateway's own interface_address; write the neighbour's address`,
      );
      return;
    }
    if (isLinkLocal(hop) && hop.family === 6) return;
    if (own.some((entry) => prefixContains(knownPrefix(entry.prefix), hop))) return;
    const right =
      own.length > 0 ? `an address in ${own.map((entry) => entry.prefix).join(' or ')}` : undefined;
    findings.problem(
      hopPath,
      right === undefined
        ? `${text} has no interface_address of its family beside it; add an IPv${hop.family} interface_address`
        : `${text} is not a neighbour on this interface; write ${right}`,
    );
  });
}
