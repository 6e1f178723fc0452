/**
 * Tokens: 32 characters that nobody can guess, one for each flow, in every byte that the flow sends
 * (`agent/flows.py`). Who receives a token that is not meant for it has received another's packet.
 */
import { randomBytes } from 'node:crypto';

export const TOKEN_CHARACTERS = 32;
/** Token and serial number: where the repeated token begins in a datagram. */
const FILL_AT = 48;

export class Tokens {
  readonly #owners = new Map<string, ReadonlySet<string>>();
  /** Every rotation of every token: a TCP segment may begin anywhere in the stream. */
  readonly #rotations = new Map<string, string>();

  /** A new token, for these hosts only. */
  issue(...owners: readonly string[]): string {
    const token = randomBytes(TOKEN_CHARACTERS / 2).toString('hex');
    this.#owners.set(token, new Set(owners));
    for (let start = 0; start < TOKEN_CHARACTERS; start++) {
      this.#rotations.set(token.slice(start) + token.slice(0, start), token);
    }
    return token;
  }

  /** Whether the host may see this token. */
  isFor(token: string, host: string): boolean {
    return this.#owners.get(token)?.has(host) ?? false;
  }

  /** Who may see it, for messages. */
  ownersOf(token: string): string {
    return [...(this.#owners.get(token) ?? [])].join(' and ') || 'nobody';
  }

  /** Whether any token stands anywhere in this. */
  areIn(data: string): boolean {
    for (const token of this.#owners.keys()) if (data.includes(token)) return true;
    return false;
  }

  /**
   * The token of a datagram's or echo message's data, from its start. Undefined if it does not begin with a token,
   * or holds anything else behind it (data that is cut short is checked as far as it goes).
   */
  ofMessage(data: string): string | undefined {
    const token = data.slice(0, TOKEN_CHARACTERS);
    if (!this.#owners.has(token)) return undefined;
    const fill = data.slice(FILL_AT);
    return isRepetition(fill, token) ? token : undefined;
  }

  /** The token of a piece of a repeated one, from anywhere: TCP data, later fragments. Undefined if it is not such a piece. */
  ofStream(data: string): string | undefined {
    if (data.length < TOKEN_CHARACTERS) {
      for (const token of this.#owners.keys()) if ((token + token).includes(data)) return token;
      return undefined;
    }
    const head = data.slice(0, TOKEN_CHARACTERS);
    const token = this.#rotations.get(head);
    return token !== undefined && isRepetition(data, head) ? token : undefined;
  }
}

function isRepetition(data: string, of: string): boolean {
  return of.repeat(Math.ceil(data.length / of.length)).startsWith(data);
}
