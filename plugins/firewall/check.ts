/**
 * What is wrong with the firewall's options: asked wherever a configuration is looked at. Files of sets are read where
 * they can be; whether they are there, and readable, is between the gateway and its host.
 */
import type { OptionsCheck } from '../../src/plugin/contract.ts';
import { expandRules, RuleTooComplex } from './compile-rules.ts';
import { Problems } from './options-check.ts';
import { readOptions } from './rules.ts';
import { readText } from './sets.ts';

export const checkOptions: OptionsCheck = ({ options, topology }) => {
  const problems = new Problems();
  const { rules } = readOptions(options, topology, problems, readIfHere);
  if (problems.count > 0) return problems.findings;
  try {
    expandRules(rules.map(({ condition }) => condition));
  } catch (error) {
    if (!(error instanceof RuleTooComplex)) throw error;
    problems.add(`rules[${rules[error.rule]!.index}].match`, error.message);
  }
  return problems.findings;
};

/** Not here, or not for whoever asks. */
const NOT_HERE = ['ENOENT', 'ENOTDIR', 'EACCES', 'EPERM'];

function readIfHere(path: string): string {
  try {
    return readText(path);
  } catch (error) {
    if (NOT_HERE.includes((error as NodeJS.ErrnoException).code ?? '')) return '';
    throw error;
  }
}
