/**
 * Lines for flows that match a rule with `log`: a limited number a second, and how many more there were.
 */
import type { FlowSetup } from '../../src/plugin/contract.ts';
import { formatAddressWords } from '../../src/wire/address.ts';
import type { PacketView } from '../../src/wire/packet.ts';
import type { PolicyRule } from './policy.ts';
import { PROTOCOL_NAMES } from './values.ts';

/** Lines in {@link PERIOD_MS}. */
const LINES = 20;
const PERIOD_MS = 1000;
const NAMES = new Map([...PROTOCOL_NAMES].map(([name, number]) => [number, name]));

export class FlowLog {
  private readonly say: (text: string) => void;
  private beganMs = 0;
  private lines = 0;
  private suppressed = 0;

  constructor(say: (text: string) => void) {
    this.say = say;
  }

  /** A flow matches a rule that logs. */
  write({ label, action }: PolicyRule, view: PacketView, flow: FlowSetup): void {
    if ((flow.nowMs - this.beganMs) >>> 0 >= PERIOD_MS) {
      this.beganMs = flow.nowMs;
      this.lines = 0;
    }
    if (this.lines >= LINES) {
      this.suppressed++;
      return;
    }
    this.lines++;
    const more = this.suppressed === 0 ? '' : `; ${this.suppressed} lines before it were left out`;
    this.suppressed = 0;
    this.say(`${label} (${action}): ${tuple(view)}${more}`);
  }
}

/** `tcp 10.0.0.1 port 1234 to 192.0.2.1 port 80`. */
function tuple(view: PacketView): string {
  const { family, protocol, src0, src1, src2, src3, dst0, dst1, dst2, dst3 } = view;
  const hasPorts = protocol === 6 || protocol === 17;
  const port = (number: number): string => (hasPorts ? ` port ${number}` : '');
  const source = formatAddressWords(family, src0, src1, src2, src3);
  const destination = formatAddressWords(family, dst0, dst1, dst2, dst3);
  const name = NAMES.get(protocol) ?? `protocol ${protocol}`;
  return `${name} ${source}${port(view.sourcePort)} to ${destination}${port(view.destinationPort)}`;
}
