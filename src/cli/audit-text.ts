/** The overlap audit for people: a paragraph for each kind of finding, nothing for kinds without any. */
import type { AuditBody } from '../api/schemas/audit.ts';
import { counted } from './table.ts';

/** Lines of one kind that are printed; `--json` has all. */
const MAX_LINES = 50;

/** Whether there is more to say than that there is nothing. */
export function hasFindings({ overlaps, redundant, overridden, undeclared }: AuditBody): boolean {
  return [overlaps, redundant, overridden, undeclared?.addresses ?? []].some(({ length }) => length > 0);
}

export function auditText(audit: AuditBody): string {
  const { overlaps, relations, redundant, overridden, undeclared } = audit;
  const ambiguous = overlaps.filter(({ verdict }) => verdict !== 'routed').length;
  const parts = [
    paragraph('Shared addresses:', overlaps),
    paragraph('Sites:', relations, audit.omittedRelations),
    paragraph('Declared twice:', redundant),
    paragraph('Led elsewhere by routes:', overridden),
    ...(undeclared === null ? [] : [undeclaredText(undeclared)]),
  ];
  const summary =
    overlaps.length === 0
      ? `${counted(audit.sites, 'site')} with ${counted(audit.prefixes, 'prefix', 'prefixes')}: no addresses are shared.`
      : `${counted(audit.sites, 'site')} with ${counted(audit.prefixes, 'prefix', 'prefixes')}: ` +
        `${counted(overlaps.length, 'prefix', 'prefixes')} shared, ${ambiguous} ambiguous for new flows from elsewhere.`;
  return [...parts.filter((part) => part !== ''), summary].join('\n\n');
}

function undeclaredText({ flows, addresses, omittedFlows }: NonNullable<AuditBody['undeclared']>): string {
  if (addresses.length === 0)
    return `In traffic (${counted(flows, 'flow')}): every address is declared by its site.`;
  const text = paragraph('In traffic, declared by nobody or by others:', addresses);
  return omittedFlows === 0
    ? text
    : `${text}\n  ${counted(omittedFlows, 'flow')} more from further addresses.`;
}

/** `omitted`: findings that not even the audit lists. */
function paragraph(title: string, findings: readonly { readonly text: string }[], omitted = 0): string {
  if (findings.length === 0) return '';
  const lines = findings.slice(0, MAX_LINES).map(({ text }) => `  ${text}`);
  if (findings.length > MAX_LINES) lines.push(`  ${findings.length - MAX_LINES} more: --json has them all.`);
  if (omitted > 0) lines.push(`  ${omitted} more, which are not listed.`);
  return [title, ...lines].join('\n');
}
