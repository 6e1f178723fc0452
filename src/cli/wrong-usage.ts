/** Exit statuses, and errors of whoever typed the command. */

/** Failed. */
export const EXIT_FAILED = 1;
/** Wrong usage or configuration. */
export const EXIT_USAGE = 2;

/** An error of whoever typed the command. */
export function wrongUsage(message: string): Error {
  return Object.assign(new Error(message), { exitStatus: EXIT_USAGE });
}
