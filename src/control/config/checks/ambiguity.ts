/**
 * Sites may declare the same addresses. Flows from them never mind; a new flow towards such an address is
 * dropped as ambiguous unless a route names the site. Legal, so a notice.
 */
import { type Prefix, prefixContainsPrefix, prefixesOverlap } from '../../../wire/address.ts';
import type { Findings } from '../findings.ts';
import { knownPrefix } from '../ip.ts';
import type { ConfigDocument } from '../schema.ts';

/** Named in one notice; further ones are counted. */
const MAX_NAMES = 3;

interface Declaration {
  readonly site: string;
  readonly prefix: Prefix;
  readonly text: string;
}

export function checkAmbiguity(document: ConfigDocument, findings: Findings): void {
  const routed = document.routes
    .filter(({ via }) => document.sites.some(({ name }) => name === via))
    .map(({ prefix }) => knownPrefix(prefix));
  const earlier: Declaration[] = [];
  document.sites.forEach((site, siteAt) => {
    const own = site.prefixes.map((text) => ({
      site: site.name,
      prefix: knownPrefix(text),
      text,
    }));
    own.forEach((declaration, at) => {
      const others = earlier.filter((other) => isAmbiguous(declaration, other, routed));
      if (others.length === 0) return;
      const names = others.slice(0, MAX_NAMES).map((other) => `${other.site} (${other.text})`);
      if (others.length > MAX_NAMES) names.push(`${others.length - MAX_NAMES} more`);
      findings.notice(
        ['sites', siteAt, 'prefixes', at],
        `${declaration.text} is ambiguous with ${names.join(', ')}; new flows towards it are dropped unless a route names the site`,
        'ambiguity',
      );
    });
    earlier.push(...own);
  });
}

/** A route that covers the shared part settles it. */
function isAmbiguous(a: Declaration, b: Declaration, routed: readonly Prefix[]): boolean {
  if (!prefixesOverlap(a.prefix, b.prefix)) return false;
  const shared = a.prefix.length >= b.prefix.length ? a.prefix : b.prefix;
  return !routed.some((route) => prefixContainsPrefix(route, shared));
}
