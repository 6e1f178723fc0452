/** Addresses and prefixes of a plan as words. Control has checked them; what is wrong here is control's fault. */
import { type Address, type Prefix, parseAddress, parsePrefix } from '../wire/address.ts';
import type { AddressText } from './plan.ts';

/** @throws Error if the text is no address */
export function planAddress(text: AddressText): Address {
  const address = parseAddress(text);
  if (address === undefined) throw new Error(`plan: ${text} is not an address`);
  return address;
}

/** @throws Error if the text is no prefix */
export function planPrefix(text: string): Prefix {
  const parsed = parsePrefix(text);
  if (!parsed.ok) throw new Error(`plan: ${parsed.message}`);
  return parsed.prefix;
}
