/**
 * Lines for flows that match a rule with `log`: of each rule a limited number a minute, and how many more there were.
 */
import type { FlowSetup } from '../../src/plugin/contract.ts';
import { formatAddressWords } from '../../src/wire/address.ts';
import type { PacketView } from '../../src/wire/packet.ts';
import type { ListedRule } from './rule-list.ts';
import { PROTOCOL_NAMES } from './values.ts';

/** Lines of one rule in {@link PERIOD_MS}: as many as the log takes of it. */
const LINES = 20;
const PERIOD_MS = 60_000;
const NAMES = new Map([...PROTOCOL_NAMES].map(([name, number]) => [number, name]));

/** Says a line that is about a rule, which is its topic. */
export type SayLine = (text: string, topic: string) => void;

export class FlowLog {
  private readonly say: SayLine;
  /** By place of the rule: when its period began, lines in it, and what was left out since the last one. */
  private readonly beganMs: Int32Array;
  private readonly lines: Uint8Array;
  private readonly suppressed: Float64Array;

  /** `rules`: how many there are. */
  constructor(rules: number, say: SayLine) {
    this.say = say;
    this.beganMs = new Int32Array(rules);
    this.lines = new Uint8Array(rules);
    this.suppressed = new Float64Array(rules);
  }

  /** A flow matches a rule that logs, by its place. */
  write(place: number, { label, action }: ListedRule, view: PacketView, flow: FlowSetup): void {
    const { beganMs, lines, suppressed } = this;
    if ((flow.nowMs - beganMs[place]!) >>> 0 >= PERIOD_MS) {
      beganMs[place] = flow.nowMs;
      lines[place] = 0;
    }
    if (lines[place]! >= LINES) {
      suppressed[place]!++;
      return;
    }
    lines[place]!++;
    const more = suppressed[place] === 0 ? '' : `; ${suppressed[place]} lines before it were left out`;
    suppressed[place] = 0;
    this.say(`${label} (${action}): ${tuple(view)}${more}`, label);
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
