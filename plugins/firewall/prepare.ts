/**
 * The part that runs before the data half is configured, outside of the data plane: compiles options, and hands over what
 * comes out as bytes. The data half compiles with the same code where nobody has done it before.
 */
import { deserialize, serialize } from 'node:v8';
import type { OptionsPreparation, PluginConfiguration } from '../../src/plugin/contract.ts';
import { compilePolicy } from './compile-policy.ts';
import type { CompiledPolicy } from './policy.ts';

export const prepareOptions: OptionsPreparation = (configuration) => serialize(compilePolicy(configuration));

/**
 * What was prepared for this configuration, or else what comes of preparing it now.
 *
 * @throws PluginOptionsError as `compilePolicy`
 */
export function preparedPolicy(configuration: PluginConfiguration): CompiledPolicy {
  const { prepared } = configuration;
  return prepared === undefined ? compilePolicy(configuration) : (deserialize(prepared) as CompiledPolicy);
}
