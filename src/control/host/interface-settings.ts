/**
 * The host's settings of an interface that belongs to a site, in /proc/sys/net.
 *
 * Neighbours: `links.ts`, which records how they were before it changes them.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';

/**
 * Settings of an interface that is a site's. A host without an address on it has no route back to any sender: with
 * `rp_filter` it drops whatever comes, be it for the host or to be forwarded.
 */
export const IPV4_SETTINGS: Readonly<Record<string, string>> = { forwarding: '0', rp_filter: '1' };

function disableIpv6Path(name: string): string {
  return `/proc/sys/net/ipv6/conf/${name}/disable_ipv6`;
}

/** null: the kernel has no IPv6. */
export function readDisableIpv6(name: string): '0' | '1' | null {
  if (!existsSync(disableIpv6Path(name))) return null;
  return readFileSync(disableIpv6Path(name), 'latin1').trim() === '0' ? '0' : '1';
}

export function writeDisableIpv6(name: string, value: '0' | '1'): void {
  if (existsSync(disableIpv6Path(name))) writeFileSync(disableIpv6Path(name), `${value}\n`);
}

function ipv4SettingPath(name: string, setting: string): string {
  return `/proc/sys/net/ipv4/conf/${name}/${setting}`;
}

/** Without those of an interface that has just gone. */
export function readIpv4Settings(name: string): Record<string, string> {
  return Object.fromEntries(
    Object.keys(IPV4_SETTINGS)
      .map((setting) => [setting, ipv4SettingPath(name, setting)] as const)
      .filter(([, path]) => existsSync(path))
      .map(([setting, path]) => [setting, readFileSync(path, 'latin1').trim()]),
  );
}

export function writeIpv4Settings(name: string, values: Readonly<Record<string, string>>): void {
  for (const [setting, value] of Object.entries(values)) {
    const path = ipv4SettingPath(name, setting);
    if (existsSync(path)) writeFileSync(path, `${value}\n`);
  }
}
