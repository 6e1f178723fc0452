/**
 * Compiles a capture filter for the data plane (`pipeline/capture/filter-program.ts`).
 *
 * Every condition becomes instructions that jump to one place if it holds and to another if not; `and`, `or` and
 * `not` are nothing but these places. So the program reads no more of a packet than it has to, in the order written.
 */
import * as program from '../../../pipeline/capture/filter-program.ts';
import { prefixMaskWord } from '../../../wire/address.ts';
import { parseFilter } from './parse.ts';
import { both, type Condition, type Operator, protocolCondition, type Value } from './syntax.ts';
import { FilterError } from './tokens.ts';

/**
 * @throws FilterError
 */
export function compileFilter(text: string): program.FilterProgram {
  const condition = parseFilter(text);
  if (condition === undefined) return program.NO_FILTER;
  const compiler = new Compiler(text);
  return compiler.compile(condition);
}

/** A place to jump to; its number is known when the instruction there is emitted. */
interface Place {
  at: number;
}

interface Instruction {
  readonly op: number;
  readonly argument: number;
  readonly onTrue: Place;
  readonly onFalse: Place;
}

const OPERATIONS: Readonly<Record<Operator, number>> = {
  '&': program.OP_AND,
  '|': program.OP_OR,
  '+': program.OP_ADD,
  '-': program.OP_SUBTRACT,
  '*': program.OP_MULTIPLY,
  '<<': program.OP_SHIFT_LEFT,
  '>>': program.OP_SHIFT_RIGHT,
};
const NOWHERE: Place = { at: program.NO_MATCH };

class Compiler {
  private readonly text: string;
  private readonly instructions: Instruction[] = [];
  private readonly networks: number[] = [];

  constructor(text: string) {
    this.text = text;
  }

  compile(condition: Condition): program.FilterProgram {
    this.condition(condition, { at: program.MATCH }, { at: program.NO_MATCH });
    return {
      instructions: this.instructions.flatMap(({ op, argument, onTrue, onFalse }) => [
        op,
        argument,
        onTrue.at,
        onFalse.at,
      ]),
      networks: this.networks,
    };
  }

  private condition(condition: Condition, onTrue: Place, onFalse: Place): void {
    switch (condition.kind) {
      case 'and': {
        const right: Place = { at: 0 };
        this.condition(condition.left, right, onFalse);
        right.at = this.instructions.length;
        this.condition(condition.right, onTrue, onFalse);
        break;
      }
      case 'or': {
        const right: Place = { at: 0 };
        this.condition(condition.left, onTrue, right);
        right.at = this.instructions.length;
        this.condition(condition.right, onTrue, onFalse);
        break;
      }
      case 'not':
        this.condition(condition.of, onFalse, onTrue);
        break;
      case 'family':
        this.emit(program.OP_FAMILY, condition.family, onTrue, onFalse);
        break;
      case 'protocol':
        this.emit(program.OP_PROTOCOL, condition.number, onTrue, onFalse);
        break;
      case 'has_ports':
        this.emit(program.OP_HAS_PORTS, 0, onTrue, onFalse);
        break;
      case 'has_transport':
        this.emit(program.OP_HAS_TRANSPORT, 0, onTrue, onFalse);
        break;
      case 'network': {
        const op = condition.side === 'source' ? program.OP_SOURCE_NETWORK : program.OP_DESTINATION_NETWORK;
        const { family, words, length } = condition.prefix;
        const number = this.networks.length / program.NETWORK_WORDS;
        const masks = [0, 1, 2, 3].map((index) => prefixMaskWord(family, length, index));
        this.networks.push(family, ...words, ...masks);
        this.emit(op, number, onTrue, onFalse);
        break;
      }
      case 'port': {
        const op = condition.side === 'source' ? program.OP_SOURCE_PORT : program.OP_DESTINATION_PORT;
        this.emit(op, (condition.lowest << 16) | condition.highest, onTrue, onFalse);
        break;
      }
      case 'relation':
        this.relation(condition, onTrue, onFalse);
        break;
    }
  }

  /** A packet that lacks a protocol whose bytes are compared does not meet the relation, whatever it is. */
  private relation(condition: Condition & { kind: 'relation' }, onTrue: Place, onFalse: Place): void {
    for (const guard of [...guards(condition.left), ...guards(condition.right)]) {
      const next: Place = { at: 0 };
      this.condition(guard, next, onFalse);
      next.at = this.instructions.length;
    }
    this.value(condition.left, 0);
    this.value(condition.right, 1);
    switch (condition.relation) {
      case '==':
        this.emit(program.OP_EQUAL, 0, onTrue, onFalse);
        break;
      case '!=':
        this.emit(program.OP_EQUAL, 0, onFalse, onTrue);
        break;
      case '<':
        this.emit(program.OP_LESS, 0, onTrue, onFalse);
        break;
      case '>=':
        this.emit(program.OP_LESS, 0, onFalse, onTrue);
        break;
      case '>':
        this.emit(program.OP_GREATER, 0, onTrue, onFalse);
        break;
      case '<=':
        this.emit(program.OP_GREATER, 0, onFalse, onTrue);
        break;
    }
  }

  /** Emits what puts a value on the stack, on which `depth` values lie already. */
  private value(value: Value, depth: number): void {
    if (depth >= program.STACK_WORDS) throw new FilterError(this.text, 0, 'its arithmetic is too deep');
    switch (value.kind) {
      case 'number':
        this.emit(program.OP_PUSH, value.value | 0, NOWHERE, NOWHERE);
        break;
      case 'length':
        this.emit(program.OP_LENGTH, 0, NOWHERE, NOWHERE);
        break;
      case 'load': {
        this.value(value.offset, depth);
        const isNetwork = value.protocol === 'ip' || value.protocol === 'ip6';
        const base = isNetwork ? program.BASE_NETWORK : program.BASE_TRANSPORT;
        this.emit(program.OP_LOAD, (base << 4) | value.bytes, NOWHERE, NOWHERE);
        break;
      }
      case 'operation':
        this.value(value.left, depth);
        this.value(value.right, depth + 1);
        this.emit(OPERATIONS[value.operator], 0, NOWHERE, NOWHERE);
        break;
    }
  }

  private emit(op: number, argument: number, onTrue: Place, onFalse: Place): void {
    this.instructions.push({ op, argument, onTrue, onFalse });
  }
}

/** What a packet must be for the bytes of a value to be there. */
function guards(value: Value): Condition[] {
  switch (value.kind) {
    case 'load': {
      const protocol = protocolCondition(value.protocol);
      const isNetwork = value.protocol === 'ip' || value.protocol === 'ip6';
      return [...guards(value.offset), isNetwork ? protocol : both(protocol, { kind: 'has_transport' })];
    }
    case 'operation':
      return [...guards(value.left), ...guards(value.right)];
    default:
      return [];
  }
}
