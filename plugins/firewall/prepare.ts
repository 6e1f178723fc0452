/**
 * The part that runs before the data half is configured, outside of the data plane: compiles options, and hands over what
 * comes out as bytes. The data half compiles with the same code where nobody has done it before.
 *
 * ```
 *  0        4        8
 *  | "hwfw" | format | a CompiledPolicy, as V8 serialises it
 * ```
 *
 * Control and the data plane may run different versions of homeward for a while after an upgrade: the format says whether the
 * one reads what the other has written.
 */
import { deserialize, serialize } from 'node:v8';
import type { OptionsPreparation, PluginConfiguration } from '../../src/plugin/contract.ts';
import { compilePolicy } from './compile-policy.ts';
import type { CompiledPolicy } from './policy.ts';

/** To be raised with every change of what a {@link CompiledPolicy} consists of or means. */
export const FORMAT = 1;
const MARK = 'hwfw';
/** A multiple of eight: typed arrays are read where they stand. */
const HEADER_BYTES = 8;

export const prepareOptions: OptionsPreparation = (configuration) => {
  const header = Buffer.alloc(HEADER_BYTES);
  header.write(MARK, 'latin1');
  header.writeUInt32LE(FORMAT, MARK.length);
  return Buffer.concat([header, serialize(compilePolicy(configuration))]);
};

/**
 * What was prepared for this configuration, or else what comes of preparing it now.
 *
 * @throws PluginOptionsError as `compilePolicy`; Error if what was prepared is of another version of this code
 */
export function preparedPolicy(configuration: PluginConfiguration): CompiledPolicy {
  const { prepared } = configuration;
  if (prepared === undefined) return compilePolicy(configuration);
  const { buffer, byteOffset, length } = prepared;
  const bytes = Buffer.from(buffer, byteOffset, length);
  const isMarked = length >= HEADER_BYTES && bytes.toString('latin1', 0, MARK.length) === MARK;
  const format = isMarked ? bytes.readUInt32LE(MARK.length) : 'none';
  if (format !== FORMAT) {
    throw new Error(
      `its rules were compiled by another version of homeward (format ${format}, and this data plane reads ${FORMAT}); restart homeward, which keeps flows`,
    );
  }
  return deserialize(bytes.subarray(HEADER_BYTES)) as CompiledPolicy;
}
