/**
 * Conditions on flows, and the test that they make: which records a listing shows and a flush ends.
 *
 * Plain JSON, because they cross the socket between control, which lists, and the data plane, which flushes: what
 * is listed and what is flushed by the same conditions cannot differ. Names are numbers here (spaces, ports,
 * plugins by their place); who asks by name translates them first. For the control path only.
 *
 * Neighbours: `flow/layout.ts` (the words), `flow/flow-state.ts`, `dataplane/data-plane.ts`, `control/flows/`.
 */
import { addressBits, type Prefix, parseAddress, parsePrefix, prefixContainsWords } from '../wire/address.ts';
import { swap16 } from '../wire/byte-order.ts';
import { type FlowStateName, flowStateName } from './flow-state.ts';
import {
  DIRECTION_EGRESS,
  DIRECTION_WORDS,
  KEY_DST0,
  KEY_META,
  KEY_PORTS,
  KEY_SRC0,
  SHARED_ID,
  SHARED_INGRESS,
  SHARED_PLUGINS,
} from './layout.ts';

/** All that are given must hold. None: every flow. Ports are in host order; an ICMP identifier counts as one. */
export interface FlowConditions {
  /** By its id. */
  readonly flow?: number;
  /** A site or egress takes part in it, by space id. */
  readonly space?: number;
  /** It comes or goes by this tunnel, egress or diversion, by port index: ingress, egress or pin. */
  readonly port?: number;
  /** An address or prefix: one of its addresses, original or translated, is or lies in it. */
  readonly address?: string;
  /** An address or prefix of its original source. */
  readonly source?: string;
  /** An address or prefix of its original destination. */
  readonly destination?: string;
  /** One of its ports, original or translated. */
  readonly transportPort?: number;
  /** Its original source port. */
  readonly sourcePort?: number;
  /** Its original destination port. */
  readonly destinationPort?: number;
  /** IP protocol number. */
  readonly protocol?: number;
  readonly state?: FlowStateName;
  /** `accept`: a plugin accepted it; `continue`: none decided. */
  readonly verdict?: 'accept' | 'continue';
  /** The plugin at this place in the list decided on it, or still looks at its packets. */
  readonly plugin?: number;
}

/** Whether the record whose words begin at `base` is meant. */
export type RecordTest = (words: Int32Array, base: number) => boolean;

/**
 * The test of some conditions.
 *
 * @throws RangeError that names a text which is neither an address nor a prefix
 */
export function flowTest(conditions: FlowConditions): RecordTest {
  const tests = testsOf(conditions);
  return (words, base) => {
    for (const test of tests) if (!test(words, base)) return false;
    return true;
  };
}

function testsOf(conditions: FlowConditions): RecordTest[] {
  const tests: RecordTest[] = [];
  const { flow, space, port, transportPort, sourcePort, destinationPort, protocol } = conditions;
  if (flow !== undefined) tests.push((words, base) => words[base + SHARED_ID] === (flow | 0));
  if (protocol !== undefined) {
    tests.push((words, base) => ((words[base + KEY_META]! >>> 8) & 0xff) === protocol);
  }
  if (space !== undefined) tests.push((words, base) => isOfSpace(words, base, space));
  if (port !== undefined) tests.push((words, base) => isByPort(words, base, port));
  if (transportPort !== undefined) tests.push((words, base) => hasPort(words, base, swap16(transportPort)));
  if (sourcePort !== undefined) {
    const wire = swap16(sourcePort);
    tests.push((words, base) => (words[base + KEY_PORTS]! & 0xffff) === wire);
  }
  if (destinationPort !== undefined) {
    const wire = swap16(destinationPort);
    tests.push((words, base) => words[base + KEY_PORTS]! >>> 16 === wire);
  }
  const { address, source, destination, state, verdict, plugin } = conditions;
  if (source !== undefined) tests.push(lineTest(source, KEY_SRC0));
  if (destination !== undefined) tests.push(lineTest(destination, KEY_DST0));
  if (address !== undefined) tests.push(anyAddressTest(address));
  if (state !== undefined) tests.push((words, base) => flowStateName(words, base) === state);
  if (verdict !== undefined) {
    // Return routing only continues, and who refuses leaves no flow: a decider has accepted.
    const decided = verdict === 'accept';
    tests.push((words, base) => (words[base + SHARED_PLUGINS]! >>> 16 !== 0) === decided);
  }
  if (plugin !== undefined) {
    tests.push((words, base) => {
      const word = words[base + SHARED_PLUGINS]!;
      return word >>> 16 === plugin + 1 || (word & (1 << plugin)) !== 0;
    });
  }
  return tests;
}

function isOfSpace(words: Int32Array, base: number, space: number): boolean {
  return (
    words[base + KEY_META]! >>> 16 === space || words[base + DIRECTION_WORDS + KEY_META]! >>> 16 === space
  );
}

function isByPort(words: Int32Array, base: number, port: number): boolean {
  return (
    (words[base + SHARED_INGRESS]! & 0xffff) === port ||
    (words[base + DIRECTION_EGRESS]! & 0xffff) === port ||
    (words[base + DIRECTION_WORDS + DIRECTION_EGRESS]! & 0xffff) === port
  );
}

function hasPort(words: Int32Array, base: number, wire: number): boolean {
  const original = words[base + KEY_PORTS]!;
  const translated = words[base + DIRECTION_WORDS + KEY_PORTS]!;
  return (
    (original & 0xffff) === wire ||
    original >>> 16 === wire ||
    (translated & 0xffff) === wire ||
    translated >>> 16 === wire
  );
}

/** The prefix that a text names; an address names itself. */
function prefixOfText(text: string): Prefix {
  const address = parseAddress(text);
  if (address !== undefined) return { ...address, length: addressBits(address.family) };
  const result = parsePrefix(text);
  if (!result.ok) throw new RangeError(result.message);
  return result.prefix;
}

function lineTest(text: string, at: number): RecordTest {
  const prefix = prefixOfText(text);
  return (words, base) => isIn(prefix, words, base, at);
}

function anyAddressTest(text: string): RecordTest {
  const prefix = prefixOfText(text);
  return (words, base) =>
    isIn(prefix, words, base, KEY_SRC0) ||
    isIn(prefix, words, base, KEY_DST0) ||
    isIn(prefix, words, base, DIRECTION_WORDS + KEY_SRC0) ||
    isIn(prefix, words, base, DIRECTION_WORDS + KEY_DST0);
}

function isIn(prefix: Prefix, words: Int32Array, base: number, at: number): boolean {
  const first = base + at;
  return prefixContainsWords(
    prefix,
    words[base + KEY_META]! & 0xff,
    words[first]!,
    words[first + 1]!,
    words[first + 2]!,
    words[first + 3]!,
  );
}
