/** Names are unique, and so is what stands behind them: a device carries one interconnect, one egress. */
import { MAX_PORTS } from '../../identities.ts';
import type { ConfigPath } from '../config.ts';
import type { Findings } from '../findings.ts';
import type { ConfigDocument } from '../schema.ts';

interface Claim {
  readonly what: string;
  readonly path: ConfigPath;
}

/** Sites, tunnels and egresses share one name space: commands, routes and counters go by the name alone. */
export function checkNames(document: ConfigDocument, findings: Findings): void {
  const claims = new Map<string, Claim>();
  const claim = (name: string, what: string, path: ConfigPath) => {
    const other = claims.get(name);
    if (other === undefined) {
      claims.set(name, { what, path });
      return;
    }
    const where = `${other.what} in line ${findings.line(other.path)}`;
    findings.problem(
      path,
      `${name} is also the name of ${where}; give every site, tunnel and egress its own`,
    );
  };
  document.sites.forEach((site, at) => {
    claim(site.name, 'a site', ['sites', at, 'name']);
    site.tunnels.forEach((tunnel, tunnelAt) => {
      claim(tunnel.name, 'a tunnel', ['sites', at, 'tunnels', tunnelAt, 'name']);
    });
  });
  document.egress.forEach((egress, at) => {
    claim(egress.name, 'an egress', ['egress', at, 'name']);
  });
  const ports = document.sites.reduce((sum, site) => sum + site.tunnels.length, document.egress.length);
  if (ports > MAX_PORTS) {
    findings.problem(['sites'], `${ports} tunnels and egresses are too many; write at most ${MAX_PORTS}`);
  }
}

/**
 * A device is read by one taker: an interconnect and a device tunnel own theirs, an egress shares its uplink
 * with the host and with GRE and IPsec, which name no device. An IPsec tunnel's own is named as the tunnel.
 */
export function checkDevices(document: ConfigDocument, findings: Findings): void {
  const claims = new Map<string, Claim>();
  const claim = (device: string, what: string, path: ConfigPath) => {
    const other = claims.get(device);
    if (other === undefined) {
      claims.set(device, { what, path });
      return;
    }
    const where = `${other.what} in line ${findings.line(other.path)}`;
    findings.problem(path, `${device} already carries ${where}; give each its own interface (a VLAN is one)`);
  };
  document.sites.forEach((site, at) => {
    site.tunnels.forEach((tunnel, tunnelAt) => {
      const path = ['sites', at, 'tunnels', tunnelAt];
      const what = `tunnel ${tunnel.name}`;
      if (tunnel.type === 'ipsec') claim(tunnel.name, what, [...path, 'name']);
      if ('device' in tunnel) claim(tunnel.device, what, [...path, 'device']);
    });
  });
  document.egress.forEach((egress, at) => {
    claim(egress.device, `egress ${egress.name}`, ['egress', at, 'device']);
  });
}
