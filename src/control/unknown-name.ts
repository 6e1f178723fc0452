/** Names that nothing has, told with the name that was meant, if one is near, or with those that there are. */
import { nearest } from './config/suggest.ts';
import { RequestError } from './request-error.ts';

/** More names than these are not listed. */
const MAX_LISTED = 8;

/** The end of a sentence that says that there is no such name; empty if there is nothing to add. */
export function nameRemedy(name: string, known: readonly string[]): string {
  const close = nearest(name, known);
  if (close !== undefined) return `; did you mean ${close}?`;
  return known.length === 0 || known.length > MAX_LISTED ? '' : `; there is ${known.join(', ')}`;
}

type What = 'tunnel' | 'site' | 'egress' | 'plugin';

/**
 * The one that a request names.
 *
 * @throws RequestError `no_such_tunnel` and so on
 */
export function findNamed<T extends { readonly name: string }>(
  what: What,
  name: string,
  all: readonly T[],
): T {
  const found = all.find((one) => one.name === name);
  if (found !== undefined) return found;
  throw noSuchName(
    what,
    name,
    all.map((one) => one.name),
  );
}

/** For a request that names one thing: `no_such_tunnel` and so on. */
export function noSuchName(what: What, name: string, known: readonly string[]): RequestError {
  return new RequestError(
    'not_found',
    `no_such_${what}`,
    `there is no ${what} ${name}${nameRemedy(name, known)}`,
  );
}
