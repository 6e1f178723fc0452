/**
 * Capture filters, compiled: a small program that says whether a packet matches.
 *
 * The expression's language is that of pcap filters; `control/capture/filter/` compiles it. This is what the data
 * plane runs, over the packet's bytes and not over a decoded view: so a malformed packet is judged as well, and a
 * load beyond the packet's end makes the whole filter fail, as pcap's filters do (whatever `not` stands in front).
 *
 * ```
 *  instruction   op | argument | next if true | next if false      four words; jumps lead forward only
 *  network       family | address 4 | mask 4                       nine words, in wire order
 * ```
 *
 * Arithmetic instructions work on a small stack of uint32 and go on with the next instruction; a comparison takes two
 * values off it and jumps.
 *
 * Neighbours: `packet-tap.ts` (who asks). No allocation per packet.
 */
import { readInt32, readUint16, readWord } from '../../wire/byte-order.ts';
import {
  IPV4,
  IPV6,
  PROTOCOL_DESTINATION_OPTIONS,
  PROTOCOL_FRAGMENT,
  PROTOCOL_HOPOPTS,
  PROTOCOL_ROUTING,
  PROTOCOL_SCTP,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from '../../wire/packet.ts';

/** Words of an instruction. */
export const INSTRUCTION_WORDS = 4;
/** Words of a network. */
export const NETWORK_WORDS = 9;
/** Jump targets that end the program. */
export const MATCH = -1;
export const NO_MATCH = -2;
/** Values that fit on the stack. */
export const STACK_WORDS = 16;
/** The longest program, in words. */
const MAX_PROGRAM_WORDS = 65536;

/** A compiled filter, as it crosses to the data plane. Without instructions everything matches. */
export interface FilterProgram {
  readonly instructions: readonly number[];
  readonly networks: readonly number[];
}

/** Matches everything. */
export const NO_FILTER: FilterProgram = { instructions: [], networks: [] };

/** Tests. `FAMILY`, `PROTOCOL`: the argument is the number. The protocol is the one behind IPv6 extension headers. */
export const OP_FAMILY = 1;
export const OP_PROTOCOL = 2;
/** Not a later fragment, and a protocol with ports. */
export const OP_HAS_PORTS = 3;
/** Not a later fragment. */
export const OP_HAS_TRANSPORT = 4;
/** The argument is the number of the network. */
export const OP_SOURCE_NETWORK = 5;
export const OP_DESTINATION_NETWORK = 6;
/** The argument is `lowest << 16 | highest`; the packet must have ports. */
export const OP_SOURCE_PORT = 7;
export const OP_DESTINATION_PORT = 8;

/** Arithmetic. `PUSH`: the argument. `LENGTH`: the packet's on the wire. */
export const OP_PUSH = 16;
export const OP_LENGTH = 17;
/** Takes an offset, puts what is there: the argument is `BASE_... << 4 | bytes` (1, 2 or 4). */
export const OP_LOAD = 18;
export const OP_AND = 19;
export const OP_OR = 20;
export const OP_ADD = 21;
export const OP_SUBTRACT = 22;
export const OP_MULTIPLY = 23;
export const OP_SHIFT_LEFT = 24;
export const OP_SHIFT_RIGHT = 25;

/** Comparisons of the two topmost values, the lower one first. */
export const OP_EQUAL = 32;
export const OP_LESS = 33;
export const OP_GREATER = 34;

export const BASE_NETWORK = 0;
export const BASE_TRANSPORT = 1;

const IPV4_ADDRESSES = 12;
const IPV4_BYTES = 20;
const IPV6_ADDRESSES = 8;
const IPV6_BYTES = 40;
const MAX_EXTENSION_HEADERS = 8;

/** Runs one program. One object a filter: its fields are of the packet at hand. */
export class FilterMachine {
  private readonly program: Int32Array;
  private readonly networks: Int32Array;
  private readonly stack = new Int32Array(STACK_WORDS);
  private depth = 0;
  private bytes: Uint8Array;
  private start = 0;
  private end = 0;
  private wireBytes = 0;
  private family = 0;
  private protocol = -1;
  private transport = 0;
  private laterFragment = 0;
  /** Set by a load beyond the packet's end. */
  private failed = 0;

  /**
   * @throws RangeError for a program that could loop or read elsewhere. Control makes none of these, but what
   * arrives in a message is looked at all the same.
   */
  constructor(program: FilterProgram) {
    checkProgram(program);
    this.program = Int32Array.from(program.instructions);
    this.networks = Int32Array.from(program.networks);
    this.bytes = new Uint8Array(0);
  }

  /**
   * Whether the packet matches.
   *
   * @param bytes the memory it lies in
   * @param offset of its IP header
   * @param lengthBytes what is there of it
   * @param wireBytes what it has
   */
  matches(bytes: Uint8Array, offset: number, lengthBytes: number, wireBytes: number): boolean {
    if (this.program.length === 0) return true;
    this.bytes = bytes;
    this.start = offset;
    this.end = (offset + lengthBytes) | 0;
    this.wireBytes = wireBytes;
    this.depth = 0;
    this.failed = 0;
    this.readHeaders();
    return this.run();
  }

  private run(): boolean {
    const { program } = this;
    let at = 0;
    do {
      const base = at * INSTRUCTION_WORDS;
      const op = program[base];
      const argument = program[base + 1];
      if (op >= OP_PUSH && op < OP_EQUAL) {
        this.compute(op, argument);
        at++;
      } else {
        const isTrue = op >= OP_EQUAL ? this.compare(op) : this.test(op, argument);
        at = isTrue ? program[base + 2] : program[base + 3];
      }
      if (this.failed !== 0) return false;
    } while (at >= 0);
    return at === MATCH;
  }

  /** Family, protocol and where the transport header is; what is not there stays unknown. */
  private readHeaders(): void {
    const { bytes, start, end } = this;
    this.family = 0;
    this.protocol = -1;
    this.transport = end;
    this.laterFragment = 0;
    if (start >= end) {
      this.failed = 1;
      return;
    }
    this.family = bytes[start] >>> 4;
    if (this.family === IPV4 && start + 10 <= end) {
      this.protocol = bytes[start + 9];
      this.transport = (start + ((bytes[start] & 0x0f) << 2)) | 0;
      this.laterFragment = readUint16(bytes, start + 6) & 0x1fff;
    } else if (this.family === IPV6 && start + IPV6_BYTES <= end) {
      this.walkExtensionHeaders();
    }
  }

  private walkExtensionHeaders(): void {
    const { bytes, end } = this;
    let next = bytes[this.start + 6];
    let at = (this.start + IPV6_BYTES) | 0;
    for (let count = 0; count < MAX_EXTENSION_HEADERS && at + 8 <= end; count++) {
      if (next === PROTOCOL_FRAGMENT) {
        this.laterFragment = readUint16(bytes, at + 2) & 0xfff8;
        next = bytes[at];
        at = (at + 8) | 0;
        if (this.laterFragment !== 0) break;
      } else if (
        next === PROTOCOL_HOPOPTS ||
        next === PROTOCOL_ROUTING ||
        next === PROTOCOL_DESTINATION_OPTIONS
      ) {
        next = bytes[at];
        at = (at + ((bytes[at + 1] + 1) << 3)) | 0;
      } else {
        break;
      }
    }
    this.protocol = next;
    this.transport = at;
  }

  private test(op: number, argument: number): boolean {
    switch (op) {
      case OP_FAMILY:
        return this.family === argument;
      case OP_PROTOCOL:
        return this.protocol === argument;
      case OP_HAS_PORTS:
        return (
          this.laterFragment === 0 &&
          (this.protocol === PROTOCOL_TCP ||
            this.protocol === PROTOCOL_UDP ||
            this.protocol === PROTOCOL_SCTP)
        );
      case OP_HAS_TRANSPORT:
        return this.laterFragment === 0;
      case OP_SOURCE_NETWORK:
        return this.isInNetwork(argument, 0);
      case OP_DESTINATION_NETWORK:
        return this.isInNetwork(argument, 1);
      case OP_SOURCE_PORT:
        return this.isPort(argument, 0);
      default:
        return this.isPort(argument, 2);
    }
  }

  private isInNetwork(number: number, which: number): boolean {
    const { networks } = this;
    const at = number * NETWORK_WORDS;
    if (networks[at] !== this.family) return false;
    if (this.family === IPV4) {
      if (this.start + IPV4_BYTES > this.end) return this.fail();
      const word = readWord(this.bytes, (this.start + IPV4_ADDRESSES + which * 4) | 0);
      return ((word ^ networks[at + 4]) & networks[at + 8]) === 0;
    }
    if (this.start + IPV6_BYTES > this.end) return this.fail();
    const address = (this.start + IPV6_ADDRESSES + which * 16) | 0;
    for (let i = 0; i < 4; i++) {
      const word = readWord(this.bytes, (address + i * 4) | 0);
      if (((word ^ networks[at + 1 + i]) & networks[at + 5 + i]) !== 0) return false;
    }
    return true;
  }

  private isPort(range: number, distance: number): boolean {
    const at = (this.transport + distance) | 0;
    if (at + 2 > this.end) return this.fail();
    const port = readUint16(this.bytes, at);
    return port >= range >>> 16 && port <= (range & 0xffff);
  }

  private fail(): boolean {
    this.failed = 1;
    return false;
  }

  private compute(op: number, argument: number): void {
    if (op === OP_PUSH) this.push(argument);
    else if (op === OP_LENGTH) this.push(this.wireBytes);
    else if (op === OP_LOAD) this.load(argument);
    else {
      const right = this.pop();
      const left = this.pop();
      if (op === OP_AND) this.push(left & right);
      else if (op === OP_OR) this.push(left | right);
      else if (op === OP_ADD) this.push((left + right) | 0);
      else if (op === OP_SUBTRACT) this.push((left - right) | 0);
      else if (op === OP_MULTIPLY) this.push(Math.imul(left, right));
      // A shift by 32 or more leaves nothing, which JavaScript's operators do not know.
      else if (right >>> 0 > 31) this.push(0);
      else this.push(op === OP_SHIFT_LEFT ? left << right : (left >>> right) | 0);
    }
  }

  private load(argument: number): void {
    const base = argument >>> 4 === BASE_TRANSPORT ? this.transport : this.start;
    const size = argument & 0x0f;
    const distance = this.pop();
    // Unsigned: what was computed below zero is far beyond the end.
    if (distance < 0 || distance > this.end - base - size) {
      this.failed = 1;
      return;
    }
    const at = (base + distance) | 0;
    const { bytes } = this;
    if (size === 1) this.push(bytes[at]);
    else if (size === 2) this.push(readUint16(bytes, at));
    else this.push(readInt32(bytes, at));
  }

  private compare(op: number): boolean {
    const right = this.pop() >>> 0;
    const left = this.pop() >>> 0;
    if (op === OP_EQUAL) return left === right;
    return op === OP_LESS ? left < right : left > right;
  }

  private push(value: number): void {
    this.stack[this.depth & (STACK_WORDS - 1)] = value;
    this.depth++;
  }

  private pop(): number {
    this.depth--;
    return this.stack[this.depth & (STACK_WORDS - 1)];
  }
}

const isOperation = (op: number): boolean =>
  (op >= OP_FAMILY && op <= OP_DESTINATION_PORT) ||
  (op >= OP_PUSH && op <= OP_SHIFT_RIGHT) ||
  (op >= OP_EQUAL && op <= OP_GREATER);

function checkProgram({ instructions, networks }: FilterProgram): void {
  if (instructions.length + networks.length > MAX_PROGRAM_WORDS)
    throw new RangeError('the filter is too long');
  if (![...instructions, ...networks].every(Number.isInteger))
    throw new RangeError('the filter is not of words');
  const count = instructions.length / INSTRUCTION_WORDS;
  const networkCount = networks.length / NETWORK_WORDS;
  if (!Number.isInteger(count) || !Number.isInteger(networkCount)) {
    throw new RangeError('the filter ends within an instruction or a network');
  }
  for (let at = 0; at < count; at++) {
    const op = instructions[at * INSTRUCTION_WORDS]!;
    const argument = instructions[at * INSTRUCTION_WORDS + 1]!;
    const goesOn = op >= OP_PUSH && op < OP_EQUAL;
    const targets = instructions.slice(at * INSTRUCTION_WORDS + 2, (at + 1) * INSTRUCTION_WORDS);
    const isTarget = (to: number): boolean => to === MATCH || to === NO_MATCH || (to > at && to < count);
    const hasNext = goesOn ? at + 1 < count : targets.every(isTarget);
    const isNetwork = op === OP_SOURCE_NETWORK || op === OP_DESTINATION_NETWORK;
    const hasNetwork = !isNetwork || (argument >= 0 && argument < networkCount);
    if (!isOperation(op) || !hasNext || !hasNetwork) {
      throw new RangeError(`instruction ${at} of the filter is not sound`);
    }
  }
}
