/** Who changes the configuration, for the history. */
import type { Caller } from './operation.ts';

/** A token is known; a name on the Unix socket is what the client says. */
export function claimedBy(by: string, { token }: Caller): string {
  if (token === null) return by;
  return by === '' ? `token ${token}` : `token ${token} (${by})`;
}
