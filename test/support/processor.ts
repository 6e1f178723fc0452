/**
 * Where TEST_PINNED is set, what sends stays on a processor: the lab's clients on the first, homeward on the last. On links
 * between namespaces packets of one sender overtake each other when it moves to another processor, and a GRE tunnel with
 * sequence numbers (Linux's, too) rightly drops those that are overtaken. Seen in the emulated guest only.
 */
import { availableParallelism } from 'node:os';

/** The command line, run on that processor. */
export function pinned(
  place: 'first' | 'last',
  command: string,
  args: readonly string[],
): [command: string, args: string[]] {
  if (process.env.TEST_PINNED === undefined) return [command, [...args]];
  const number = place === 'first' ? 0 : availableParallelism() - 1;
  return ['taskset', ['--cpu-list', String(number), command, ...args]];
}
