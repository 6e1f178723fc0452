/**
 * Members of a received section, read as what they should be.
 *
 * A member that is not there gives undefined, or what the caller wants instead; one of the wrong kind is a
 * `protocol` error that names it, since the daemon is then not the one that this was written for.
 */
import { ViciError } from './errors.ts';
import type { ViciSection } from './message.ts';

function wrong(name: string, what: string): ViciError {
  return new ViciError('protocol', `${name} in the daemon's answer is not ${what}`);
}

/** Bytes of a value. */
export function bytes(section: ViciSection, name: string): Uint8Array | undefined {
  const value = section.get(name);
  if (value === undefined || value instanceof Uint8Array) return value;
  throw wrong(name, 'a value');
}

/** A value as UTF-8. */
export function text(section: ViciSection, name: string): string | undefined {
  const value = bytes(section, name);
  return value === undefined ? undefined : Buffer.from(value).toString('utf8');
}

/** A value as a whole number in decimal, up to 2^53. Negative ones only where the daemon means something by them. */
export function integer(section: ViciSection, name: string): number | undefined {
  const value = text(section, name);
  if (value === undefined) return undefined;
  if (!/^-?\d{1,15}$/.test(value)) throw wrong(name, 'a number');
  return Number(value);
}

/** A value as a number in hexadecimal without a prefix: SPIs, marks, interface ids. */
export function hexadecimal(section: ViciSection, name: string): number | undefined {
  const value = text(section, name);
  if (value === undefined) return undefined;
  if (!/^(0x)?[0-9a-f]{1,8}$/i.test(value)) throw wrong(name, 'a number in hexadecimal');
  return Number.parseInt(value, 16);
}

/** `yes` and `no`. */
export function flag(section: ViciSection, name: string): boolean {
  const value = text(section, name);
  if (value === undefined || value === 'no') return false;
  if (value === 'yes') return true;
  throw wrong(name, 'yes or no');
}

/** A list of texts; one that is not there is empty. */
export function texts(section: ViciSection, name: string): string[] {
  const value = section.get(name);
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw wrong(name, 'a list');
  return value.map((item: Uint8Array) => Buffer.from(item).toString('utf8'));
}

/** A section; one that is not there is empty. */
export function section(of: ViciSection, name: string): ViciSection {
  const value = of.get(name);
  if (value === undefined) return new Map();
  if (value instanceof Map) return value;
  throw wrong(name, 'a section');
}

/** The sections in a section, by name. */
export function sections(of: ViciSection): [name: string, section: ViciSection][] {
  const found: [string, ViciSection][] = [];
  for (const [name, value] of of) if (value instanceof Map) found.push([name, value]);
  return found;
}

/** A value that must be there. */
export function required<T>(value: T | undefined, name: string): T {
  if (value === undefined) throw new ViciError('protocol', `${name} is missing in the daemon's answer`);
  return value;
}
