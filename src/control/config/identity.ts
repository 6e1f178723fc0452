/**
 * The identities by which the two ends of an IPsec tunnel know each other (RFC 7296, section 3.5): which texts stand for
 * exactly one, and which two stand for the same one.
 *
 * The IKE daemon reads more than that: a text may be a network, a range, a pattern, or let anybody in, and several texts
 * may be one identity. A secret, or a certificate of the right authority, would then open a tunnel to an end that is
 * another site's.
 *
 * Neighbours: `ipsec-schema.ts` (reads them), `checks/ipsec.ts` (compares them).
 */
import { formatAddress, parseAddress } from '../../wire/address.ts';
import { isUnicast } from './ip.ts';
import { found, type Reading, show } from './leaves.ts';

export const IDENTITY = {
  what: 'an identity',
  write: 'a name, an address, an e-mail address or a distinguished name, whole and without *',
};

/** Printable, no spaces at its ends, no `*`. */
const TEXT = /^(?! )[\x20-\x29\x2b-\x7e\u00a0-\uffff]{1,255}(?<! )$/;
/** The daemon's own words: any, types by name (`fqdn:`) or number (`{2}:`), regular expressions. */
const DAEMONS_WORDS = /^(%|\{|\^|[a-z0-9]+:(?![0-9a-f:.]*$))/i;
const KEY_ID = /^@#([0-9a-f]{2})+$/i;
const SUBJECT = /^\/?\s*[a-z][a-z0-9. ]*=/i;

/** The text, if it stands for one identity; undefined if it is not understood. */
export function readIdentity(text: string): Reading<string> | undefined {
  if (!TEXT.test(text)) return undefined;
  if (DAEMONS_WORDS.test(text)) return undefined;
  const address = parseAddress(text);
  if (address !== undefined) {
    if (isUnicast(address)) return { value: text };
    return { problem: `${text} is no single host's address; write ${IDENTITY.write}` };
  }
  if (text.startsWith('@#')) return found(KEY_ID.test(text) ? text : undefined);
  if (SUBJECT.test(text)) return { value: text };
  if (/[:/=]/.test(text) || isRange(text)) {
    return { problem: `${show(text)} may stand for several identities; write ${IDENTITY.write}` };
  }
  return found(/^@{0,2}[^@]+(@[^@]+)?$/.test(text) ? text : undefined);
}

/** Equal for texts that the daemon takes for the same identity. */
export function sameIdentityKey(text: string): string {
  const address = parseAddress(text);
  if (address !== undefined) return formatAddress(address);
  const lower = text.toLowerCase();
  if (!SUBJECT.test(text)) return lower.replace(/^@{1,2}/, '');
  // `/C=FR/CN=paris` is `C=FR, CN=paris`.
  const parts = lower.startsWith('/') ? lower.slice(1).replaceAll('/', ',') : lower;
  return parts.replace(/\s*([,=])\s*/g, '$1').trim();
}

/** `192.0.2.1-192.0.2.9` */
function isRange(text: string): boolean {
  return text.split('-').every((part) => parseAddress(part) !== undefined);
}
