/**
 * How much the compiler may inline.
 *
 * The established path is some thirty small functions. V8's budgets are made for programs with many more callers:
 * they stop half way, and where depends on what was compiled first. With room for the whole path, a packet costs a
 * fifth less (`docs/benchmarks.md`), and the same from run to run.
 *
 * Set while the process runs, not on its command line: a V8 that does not know one of these says so on standard
 * error and goes on, where Node would refuse to start.
 */
import { setFlagsFromString } from 'node:v8';

const BUDGETS = [
  // Of one function, bytes of bytecode; by default 460.
  '--max-inlined-bytecode-size=2000',
  // Of all that goes into one function; by default 920, and 4600 whatever the function.
  '--max-inlined-bytecode-size-cumulative=8000',
  '--max-inlined-bytecode-size-absolute=20000',
];

/** Raises the budgets for everything compiled from now on: to be called before the pipeline is warm. */
export function raiseInliningBudgets(): void {
  for (const budget of BUDGETS) setFlagsFromString(budget);
}
