/**
 * The socket's half of a classification: classic BPF for SO_ATTACH_FILTER on a packet socket of the device.
 *
 * The program sees a frame from its link header on. Each rule is a chain of tests; one that fails jumps to the
 * next rule. Rules that stand together and begin with the same tests share them, so that the chains make a tree. Loads
 * behind the packet's end make the whole program answer 0: a truncated packet is not ours.
 *
 * ```
 *  tests that rules 1 and 2 share      -> ok | rule 3
 *    further tests of rule 1           -> ok | rule 2
 *    ret all | ret 0
 *    further tests of rule 2 ...       -> ok | rule 3
 *  rule 3: ...
 *  end:    ret 0
 * ```
 *
 * The length matters: the kernel takes BPF_MAXINSNS, and charges what it makes of them (four times as many, and more)
 * to the socket's `net.core.optmem_max`, 20 KiB up to Linux 6.6.
 *
 * Conditional jumps reach 255 instructions; where a target is farther, the jump goes over a `ja` behind it.
 * Encoding: linux/filter.h, Documentation/networking/filter.rst.
 */
import type { Plan, PlanDevice } from '../../pipeline/plan.ts';
import type { HostSetup } from '../compile/host-setup.ts';
import { type Classification, classify } from './classifier.ts';
import type { AddressCondition, BitsCondition, Condition, LinkCondition, Rule } from './rules.ts';

export type SocketFilter = NonNullable<PlanDevice['filter']>;

/** BPF_MAXINSNS: the kernel takes no longer program. */
export const MAX_FILTER_INSTRUCTIONS = 4096;

/** What the program returns for a packet that is taken: more bytes than any frame has. */
const TAKE_ALL = 0x40000;

const LOAD_WORD = 0x20;
const LOAD_HALF = 0x28;
const LOAD_BYTE = 0x30;
/** Same sizes at X + k. */
const INDEXED = 0x40 - 0x20;
const LOAD_X_HEADER_LENGTH = 0xb1;
const AND = 0x54;
const SHIFT_LEFT = 0x64;
const ADD_X = 0x0c;
const COPY_TO_X = 0x07;
const JUMP = 0x05;
const JUMP_EQUAL = 0x15;
const JUMP_GREATER = 0x25;
const JUMP_GREATER_EQUAL = 0x35;
const RETURN = 0x06;

/** SKF_AD_OFF: loads from here give what the kernel notes of the packet. */
const ANCILLARY = 0xfffff000;
const ANCILLARY_PROTOCOL = ANCILLARY + 0;
const ANCILLARY_PACKET_TYPE = ANCILLARY + 4;
const ANCILLARY_MARK = ANCILLARY + 20;
const ANCILLARY_VLAN_TAG = ANCILLARY + 44;
const ANCILLARY_VLAN_TAG_PRESENT = ANCILLARY + 48;

/** linux/if_packet.h */
const PACKET_HOST = 0;
const PACKET_MULTICAST = 2;

const ETHERTYPES = { ipv4: 0x0800, arp: 0x0806, ipv6: 0x86dd } as const;

/** The plan with the filter of every packet socket. */
export function withSocketFilters(plan: Plan, setup: HostSetup): Plan {
  const filters = new Map(
    setup.devices.map((device) => {
      const classification = classify(device);
      return [device.index, classification === undefined ? undefined : socketFilter(classification)];
    }),
  );
  return {
    ...plan,
    devices: plan.devices.map((device) => {
      const filter = filters.get(device.index);
      return filter === undefined ? device : { ...device, filter };
    }),
  };
}

/**
 * The filter of a classification.
 *
 * @throws Error if the program would be longer than the kernel takes (some 2000 tunnels on one device).
 */
export function socketFilter(classification: Classification): SocketFilter {
  const linkBytes = classification.link === 'ethernet' ? 14 : 0;
  const program = new Assembler();
  emitRules(program, byFamily(classification.rules).map(chainOf), linkBytes, 'nothing');
  program.statement(RETURN, 0);
  const filter = program.assemble();
  if (filter.length > MAX_FILTER_INSTRUCTIONS) {
    throw new Error(
      `the socket filter of ${classification.device} has ${filter.length} instructions, ` +
        `the kernel takes ${MAX_FILTER_INSTRUCTIONS}: give some tunnels another device`,
    );
  }
  return filter;
}

/** A rule as the tests that are still to be made, and the verdict behind them. */
interface Chain {
  readonly tests: readonly Test[];
  readonly taken: boolean;
}

interface Test {
  /** Equal for tests that do the same. */
  readonly key: string;
  /** What it needs in X, and leaves there; `nothing`: it does not touch X. */
  readonly index: Index;
  readonly emit: (program: Assembler, linkBytes: number, failed: Label, index: Index) => void;
}

/** What X holds: nothing known, or the length of the IPv4 header, or of that and of the one that an error quotes. */
type Index = 'nothing' | 'transport' | 'quoted-transport';

function chainOf({ family, conditions, taker }: Rule): Chain {
  const tests = conditions.map(
    (condition): Test => ({
      key: JSON.stringify(condition),
      index: condition.kind !== 'bits' || condition.base === 'network' ? 'nothing' : condition.base,
      emit: (program, linkBytes, failed, index) => test(program, condition, linkBytes, failed, index),
    }),
  );
  const taken = taker === 'ours' || taker === 'both';
  if (family === 'any') return { tests, taken };
  const isOfFamily: Test = {
    key: family,
    index: 'nothing',
    emit: (program, _, failed) => {
      const ok = new Label();
      program.statement(LOAD_HALF, ANCILLARY_PROTOCOL);
      program.branch(JUMP_EQUAL, ETHERTYPES[family], ok, failed);
      program.place(ok);
    },
  };
  return { tests: [isOfFamily, ...tests], taken };
}

/** Rules of one family side by side: no packet is of two, so that between rules for any their order is free. */
function byFamily(rules: readonly Rule[]): Rule[] {
  const ordered: Rule[] = [];
  for (let first = 0; first < rules.length; ) {
    const end = rules.findIndex(({ family }, at) => at >= first && family === 'any');
    const run = rules.slice(first, end < 0 ? rules.length : end);
    for (const family of ['arp', 'ipv4', 'ipv6'] as const) {
      ordered.push(...run.filter((rule) => rule.family === family));
    }
    first += run.length;
    if (end >= 0) ordered.push(rules[first++]!);
  }
  return ordered;
}

/** What none of the chains decides goes on behind them. `index` is what X holds where they begin. */
function emitRules(program: Assembler, chains: readonly Chain[], linkBytes: number, index: Index): void {
  let known = index;
  for (let first = 0; first < chains.length; ) {
    const [shared, ...rest] = chains[first]!.tests;
    if (shared === undefined) {
      program.statement(RETURN, chains[first]!.taken ? TAKE_ALL : 0);
      // Whatever follows is never reached.
      return;
    }
    const differs = chains.findIndex((chain, at) => at > first && chain.tests[0]?.key !== shared.key);
    const end = differs < 0 ? chains.length : differs;
    const next = new Label();
    shared.emit(program, linkBytes, next, known);
    const inner = chains.slice(first + 1, end).map(({ tests, taken }) => ({ tests: tests.slice(1), taken }));
    emitRules(
      program,
      [{ tests: rest, taken: chains[first]!.taken }, ...inner],
      linkBytes,
      shared.index === 'nothing' ? known : shared.index,
    );
    program.place(next);
    // Whoever failed may have come from behind any of these tests.
    const set = new Set(chains.slice(first, end).flatMap(({ tests }) => tests.map((one) => one.index)));
    set.delete('nothing');
    set.delete(known);
    if (set.size > 0) known = 'nothing';
    first = end;
  }
}

function test(
  program: Assembler,
  condition: Condition,
  linkBytes: number,
  failed: Label,
  index: Index,
): void {
  switch (condition.kind) {
    case 'vlan':
    case 'receiver':
      testLink(program, condition, failed);
      break;
    case 'mark': {
      const ok = new Label();
      program.statement(LOAD_WORD, ANCILLARY_MARK);
      program.statement(AND, condition.mask);
      program.branch(JUMP_EQUAL, condition.is, ok, failed);
      program.place(ok);
      break;
    }
    case 'address':
      testAddress(program, condition, linkBytes, failed);
      break;
    case 'bits':
      testBits(program, condition, linkBytes, failed, index);
      break;
  }
}

function testLink(program: Assembler, condition: LinkCondition, failed: Label): void {
  const ok = new Label();
  if (condition.kind === 'vlan') {
    const tagged = new Label();
    program.statement(LOAD_BYTE, ANCILLARY_VLAN_TAG_PRESENT);
    program.branch(JUMP_EQUAL, 0, failed, tagged);
    program.place(tagged);
    program.statement(LOAD_HALF, ANCILLARY_VLAN_TAG);
    program.statement(AND, 0x0fff);
    if (condition.is === 'zero') program.branch(JUMP_EQUAL, 0, ok, failed);
    else program.branch(JUMP_EQUAL, 0, failed, ok);
  } else {
    program.statement(LOAD_BYTE, ANCILLARY_PACKET_TYPE);
    if (condition.is === 'unicast') {
      program.branch(JUMP_EQUAL, PACKET_HOST, ok, failed);
    } else if (condition.is === 'not-unicast') {
      program.branch(JUMP_EQUAL, PACKET_HOST, failed, ok);
    } else {
      // PACKET_BROADCAST is 1, PACKET_MULTICAST 2, PACKET_OTHERHOST and more above.
      const notHost = new Label();
      program.branch(JUMP_EQUAL, PACKET_HOST, failed, notHost);
      program.place(notHost);
      program.branch(JUMP_GREATER, PACKET_MULTICAST, failed, ok);
    }
  }
  program.place(ok);
}

function testAddress(
  program: Assembler,
  { which, prefixes }: AddressCondition,
  linkBytes: number,
  failed: Label,
): void {
  const ok = new Label();
  const version = prefixes[0]?.version;
  const at = linkBytes + (version === 4 ? (which === 'source' ? 12 : 16) : which === 'source' ? 8 : 24);
  prefixes.forEach((prefix, index) => {
    const isLast = index === prefixes.length - 1;
    const other = isLast ? failed : new Label();
    const tested = prefix.words.map((_, word) => word).filter((word) => prefix.masks[word] !== 0);
    for (const word of tested) {
      // A run of IPv4 host addresses compares one loaded word.
      const former = prefixes[index - 1];
      const loaded = version === 4 && former !== undefined && former.masks[0] === 0xffffffff;
      if (!loaded) program.statement(LOAD_WORD, at + 4 * word);
      if (prefix.masks[word] !== 0xffffffff) program.statement(AND, prefix.masks[word]!);
      const match = word === tested.at(-1) ? ok : new Label();
      program.branch(JUMP_EQUAL, prefix.words[word]!, match, other);
      if (match !== ok) program.place(match);
    }
    if (tested.length === 0) program.jump(ok);
    if (!isLast) program.place(other);
  });
  program.place(ok);
}

function testBits(
  program: Assembler,
  condition: BitsCondition,
  linkBytes: number,
  failed: Label,
  index: Index,
): void {
  const { base, bytes, mask, ranges } = condition;
  const load = bytes === 1 ? LOAD_BYTE : bytes === 2 ? LOAD_HALF : LOAD_WORD;
  switch (base) {
    case 'network':
      program.statement(load, linkBytes + condition.offset);
      break;
    case 'transport':
      if (index !== base) program.statement(LOAD_X_HEADER_LENGTH, linkBytes);
      program.statement(load + INDEXED, linkBytes + condition.offset);
      break;
    case 'quoted-transport':
      // X becomes the length of both IPv4 headers; between them stand the 8 bytes of the ICMP header.
      if (index !== base) {
        if (index !== 'transport') program.statement(LOAD_X_HEADER_LENGTH, linkBytes);
        program.statement(LOAD_BYTE + INDEXED, linkBytes + 8);
        program.statement(AND, 0x0f);
        program.statement(SHIFT_LEFT, 2);
        program.statement(ADD_X, 0);
        program.statement(COPY_TO_X, 0);
      }
      program.statement(load + INDEXED, linkBytes + 8 + condition.offset);
  }
  if (mask !== 2 ** (8 * bytes) - 1) program.statement(AND, mask);
  const ok = new Label();
  ranges.forEach(({ min, max }, index) => {
    const isLast = index === ranges.length - 1;
    const other = isLast ? failed : new Label();
    if (min === max) {
      program.branch(JUMP_EQUAL, min, ok, other);
    } else {
      const above = new Label();
      program.branch(JUMP_GREATER_EQUAL, min, above, other);
      program.place(above);
      program.branch(JUMP_GREATER, max, other, ok);
    }
    if (!isLast) program.place(other);
  });
  program.place(ok);
}

/** A place in the program, known when it is assembled. */
class Label {
  /** Index of the item that it stands in front of. */
  item = -1;
}

type Item =
  | { readonly kind: 'statement'; readonly code: number; readonly k: number }
  | { readonly kind: 'jump'; readonly to: Label }
  | {
      readonly kind: 'branch';
      readonly code: number;
      readonly k: number;
      readonly yes: Label;
      readonly no: Label;
      /** The target is too far for eight bits. */
      farYes: boolean;
      farNo: boolean;
    };

class Assembler {
  readonly #items: Item[] = [];

  statement(code: number, k: number): void {
    this.#items.push({ kind: 'statement', code, k });
  }

  jump(to: Label): void {
    this.#items.push({ kind: 'jump', to });
  }

  branch(code: number, k: number, yes: Label, no: Label): void {
    this.#items.push({ kind: 'branch', code, k, yes, no, farYes: false, farNo: false });
  }

  /** Sets the label to what is emitted next. */
  place(label: Label): void {
    label.item = this.#items.length;
  }

  assemble(): SocketFilter {
    let starts = this.#starts();
    // Each widening moves what is behind it, which may make other branches far: until nothing changes.
    for (let changed = true; changed; ) {
      changed = false;
      this.#items.forEach((item, index) => {
        if (item.kind !== 'branch') return;
        const next = starts[index]! + 1;
        const isFar = (label: Label): boolean => starts[label.item]! - next > 255;
        if (!item.farYes && isFar(item.yes)) changed = item.farYes = true;
        if (!item.farNo && isFar(item.no)) changed = item.farNo = true;
      });
      if (changed) starts = this.#starts();
    }
    return this.#items.flatMap((item, index): [number, number, number, number][] => {
      const next = starts[index]! + 1;
      if (item.kind === 'statement') return [[item.code, 0, 0, item.k]];
      if (item.kind === 'jump') return [[JUMP, 0, 0, starts[item.to.item]! - next]];
      const farNoAt = item.farYes ? 1 : 0;
      const out: [number, number, number, number][] = [
        [
          item.code,
          item.farYes ? 0 : starts[item.yes.item]! - next,
          item.farNo ? farNoAt : starts[item.no.item]! - next,
          item.k,
        ],
      ];
      if (item.farYes) out.push([JUMP, 0, 0, starts[item.yes.item]! - next - 1]);
      if (item.farNo) out.push([JUMP, 0, 0, starts[item.no.item]! - next - 1 - farNoAt]);
      return out;
    });
  }

  /** Instruction number of each item, and of the program's end. */
  #starts(): number[] {
    const starts: number[] = [];
    let at = 0;
    for (const item of this.#items) {
      starts.push(at);
      at += item.kind === 'branch' ? 1 + Number(item.farYes) + Number(item.farNo) : 1;
    }
    starts.push(at);
    return starts;
  }
}
