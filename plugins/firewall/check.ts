/** What is wrong with the firewall's options: asked wherever a configuration is looked at. Reads no files. */
import type { OptionsCheck } from '../../src/plugin/contract.ts';
import { expandRules, RuleTooComplex } from './classifier.ts';
import { Problems } from './options-check.ts';
import { readOptions } from './rules.ts';

export const checkOptions: OptionsCheck = ({ options, topology }) => {
  const problems = new Problems();
  const { rules } = readOptions(options, topology, problems, () => '');
  if (problems.count > 0) return problems.findings;
  try {
    expandRules(rules.map(({ condition }) => condition));
  } catch (error) {
    if (!(error instanceof RuleTooComplex)) throw error;
    problems.add(`rules[${rules[error.rule]!.index}].match`, error.message);
  }
  return problems.findings;
};
