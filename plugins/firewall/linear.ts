/**
 * Rules one after the other, as they are written: slow, and simple enough to be right. The classifier is tested against
 * it, and `firewall test` explains with it which part of a rule did not match.
 */
import { type Condition, DESTINATION } from './condition.ts';
import type { PacketValues } from './packet-values.ts';
import { contains } from './ranges.ts';

/** Whether a packet meets a condition. */
export function meets(condition: Condition, packet: PacketValues): boolean {
  switch (condition.kind) {
    case 'and':
      return condition.of.every((part) => meets(part, packet));
    case 'or':
      return condition.of.some((part) => meets(part, packet));
    case 'not':
      return !meets(condition.of, packet);
    case 'number':
      return contains(condition.values, packet.numbers[condition.dimension]!);
    case 'address': {
      const { ipv4, ipv6 } = condition.values;
      const at = condition.dimension === DESTINATION ? 4 : 0;
      const part = (index: number): number => (packet.addresses[at + index]! ^ (1 << 31)) >>> 0;
      if (packet.family === 4) return contains(ipv4, part(3));
      const address = [0, 1, 2, 3].reduce((sum, index) => (sum << 32n) | BigInt(part(index)), 0n);
      return contains(ipv6, address);
    }
  }
}
