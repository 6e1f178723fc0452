/**
 * Which tunnel interfaces the kernel can make, found out by reading only: to ask the kernel itself would load a module,
 * and some modules leave interfaces in every namespace (`gre0`).
 *
 * A module that is installed may still refuse to be loaded; that is seen when an interface is made (`links.ts`).
 */
import { existsSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import type { Availability, HostFacts } from '../facts.ts';

/** Where the kernel and its modules tell of themselves. */
export interface ModulePaths {
  /** A folder for each module that is loaded or, if it has parameters, built in. */
  readonly loaded: string;
  /** `modules.builtin` and `modules.dep`. */
  readonly installed: string;
  /** `1`: no module can be loaded any more. */
  readonly disabled: string;
}

const PATHS: ModulePaths = {
  loaded: '/sys/module',
  installed: `/lib/modules/${release()}`,
  disabled: '/proc/sys/kernel/modules_disabled',
};

export function kernelLinkFacts(paths: ModulePaths = PATHS): HostFacts['kernelLinks'] {
  return {
    gre: moduleFacts('ip_gre', 'GRE interfaces', paths),
    ip6gre: moduleFacts('ip6_gre', 'GRE interfaces over IPv6', paths),
    xfrm: xfrmFacts(paths),
  };
}

/** ESP for both families, its control, and interfaces for it. */
function xfrmFacts(paths: ModulePaths): Availability {
  const [links, ...others] = [
    moduleFacts('xfrm_interface', 'XFRM interfaces', paths),
    moduleFacts('xfrm_user', 'control of IPsec', paths),
    moduleFacts('esp4', 'ESP', paths),
    moduleFacts('esp6', 'ESP over IPv6', paths),
    moduleFacts('nft_xfrm', 'firewall rules about ESP', paths),
  ];
  return others.find(({ available }) => links!.available && !available) ?? links!;
}

function moduleFacts(module: string, what: string, paths: ModulePaths): Availability {
  const has = { available: true, why: `the kernel has ${what} (module ${module})` };
  if (existsSync(`${paths.loaded}/${module}`) || isListed(module, `${paths.installed}/modules.builtin`)) {
    return has;
  }
  if (!isListed(module, `${paths.installed}/modules.dep`)) {
    return { available: false, why: `this kernel has no ${what} (module ${module})` };
  }
  if (readText(paths.disabled).trim() !== '1') return has;
  return { available: false, why: `module ${module} is not loaded, and this kernel loads no more modules` };
}

/** Lines begin with a path: `kernel/net/ipv4/ip_gre.ko.xz: kernel/net/ipv4/gre.ko.xz`. */
function isListed(module: string, path: string): boolean {
  return new RegExp(`^[^:\\s]*/${module}\\.ko(\\.\\w+)?(:|$)`, 'm').test(readText(path));
}

/** Empty if it cannot be read. */
function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
