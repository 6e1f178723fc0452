/**
 * Whether an interface of the kernel's can be made for a tunnel.
 *
 * Neighbours: `gre.ts`, `ipsec.ts` (ask), `kernel-link-name.ts` (its name), `../host/made-links.ts` (makes it).
 */
import type { ConfigPath } from '../config/config.ts';
import type { HostFacts } from '../facts.ts';
import { type DeviceDrafts, linkByName } from './devices.ts';
import type { HostFindings } from './host-findings.ts';

export interface MadeLinkQuestion {
  readonly name: string;
  readonly kind: 'GRE' | 'XFRM';
  /** What to do where the kernel has refused it. */
  readonly remedy: string;
  /** Of the tunnel. */
  readonly path: ConfigPath;
}

/** Reports what is against it. */
export function mayBeMade(
  { name, kind, remedy, path }: MadeLinkQuestion,
  facts: HostFacts,
  devices: DeviceDrafts,
  findings: HostFindings,
): boolean {
  const there = linkByName(facts, name);
  if (devices.has(name)) {
    reportTakenName(name, 'another one uses', path, findings);
    return false;
  }
  if (there !== undefined && there.kind !== 'layer3') {
    reportTakenName(name, `exists and is no ${kind} interface`, path, findings);
    return false;
  }
  const said = facts.refusedLinks[name];
  if (said === undefined) return true;
  findings.lack([...path, 'driver'], `${refusal(name, said)}; ${remedy}`);
  return false;
}

/** @param owner a clause about the interface that has the name */
export function reportTakenName(name: string, owner: string, path: ConfigPath, findings: HostFindings): void {
  const text = `the interface of this tunnel would be ${name}, which ${owner}; write another name`;
  findings.mistake([...path, 'name'], text);
}

export function refusal(name: string, said: string): string {
  return `the kernel does not make ${name}: ${said}; it is asked again after pauses of 5 s up to 10 min`;
}
