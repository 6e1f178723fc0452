/**
 * A request that cannot be done, and what that means for who asked. The API turns it into a status
 * (`api/problems.ts`); the command line prints the message.
 */

/**
 * - `malformed`: it is no request that the API knows (400)
 * - `unauthorized`: whoever asks has not said who they are (401)
 * - `invalid`: what was asked for makes no sense, whatever the gateway's state (422)
 * - `not_found`: it names something that is not there (404)
 * - `not_allowed`: that cannot be done to what it names (405)
 * - `conflict`: not in the gateway's present state (409)
 * - `forbidden`: not for whoever asks, or for nobody (403)
 * - `unavailable`: not now; try again (503)
 */
export type RequestErrorKind =
  | 'malformed'
  | 'unauthorized'
  | 'invalid'
  | 'not_found'
  | 'not_allowed'
  | 'conflict'
  | 'forbidden'
  | 'unavailable';

export class RequestError extends Error {
  override readonly name = 'RequestError';
  readonly kind: RequestErrorKind;
  /** Stable, for programs: `snake_case`. */
  readonly code: string;
  /** Single findings, where there may be several. */
  readonly problems: readonly unknown[] | undefined;

  /** @param message a sentence for people: what is wrong, and what would be right */
  constructor(kind: RequestErrorKind, code: string, message: string, problems?: readonly unknown[]) {
    super(message);
    this.kind = kind;
    this.code = code;
    this.problems = problems;
  }
}
