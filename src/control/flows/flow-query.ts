/**
 * What operators ask of flows, by name, and the conditions that it stands for (`flow/flow-conditions.ts`).
 */
import type { FlowConditions } from '../../flow/flow-conditions.ts';
import type { FlowStateName } from '../../flow/flow-state.ts';
import type { Plan } from '../../pipeline/plan.ts';
import { parseAddress, parsePrefix } from '../../wire/address.ts';
import { RequestError } from '../request-error.ts';
import { nameRemedy } from '../unknown-name.ts';
import { protocolNumber } from './protocols.ts';

/** All that are given must hold. */
export interface FlowQuery {
  readonly id?: number | undefined;
  /** A tunnel or an egress: flows that come or go by it. */
  readonly tunnel?: string | undefined;
  /** A site or an egress: flows that it takes part in. */
  readonly site?: string | undefined;
  /** Address or prefix, of any of the flow's addresses. */
  readonly address?: string | undefined;
  /** Address or prefix of the original source. */
  readonly source?: string | undefined;
  /** Address or prefix of the original destination. */
  readonly destination?: string | undefined;
  /** Any of the flow's ports. */
  readonly port?: number | undefined;
  readonly sourcePort?: number | undefined;
  readonly destinationPort?: number | undefined;
  /** Name or number. */
  readonly protocol?: string | undefined;
  readonly state?: FlowStateName | undefined;
  readonly verdict?: 'accept' | 'continue' | undefined;
  /** Decided on it, or still looks at it. */
  readonly plugin?: string | undefined;
}

/**
 * The conditions that a query stands for.
 *
 * @param plugins names in the order of the records' bits
 * @throws RequestError `unknown_name`, `bad_address` or `bad_protocol`
 */
export function conditionsOf(query: FlowQuery, plan: Plan, plugins: readonly string[]): FlowConditions {
  const { id, tunnel, site, plugin, protocol, port } = query;
  for (const text of [query.address, query.source, query.destination]) {
    if (text !== undefined) requireAddress(text);
  }
  return dropUndefined({
    flow: id,
    port: tunnel === undefined ? undefined : portNamed(plan, tunnel).index,
    space: site === undefined ? undefined : spaceNamed(plan, site).id,
    address: query.address,
    source: query.source,
    destination: query.destination,
    transportPort: port,
    sourcePort: query.sourcePort,
    destinationPort: query.destinationPort,
    protocol: protocol === undefined ? undefined : knownProtocol(protocol),
    state: query.state,
    verdict: query.verdict,
    plugin: plugin === undefined ? undefined : placeOf(plugin, plugins),
  });
}

/** @throws RequestError `unknown_name` */
export function portNamed(plan: Plan, name: string): Plan['ports'][number] {
  const port = plan.ports.find((candidate) => candidate.name === name);
  if (port !== undefined) return port;
  throw unknownName(
    'tunnel',
    name,
    plan.ports.map((candidate) => candidate.name),
  );
}

/** @throws RequestError `bad_protocol` */
export function knownProtocol(text: string): number {
  const number = protocolNumber(text);
  if (number !== undefined) return number;
  throw new RequestError(
    'invalid',
    'bad_protocol',
    `${text} is not a protocol; write tcp, udp, icmp, icmpv6, sctp or a number from 0 to 255`,
  );
}

function spaceNamed(plan: Plan, name: string): Plan['spaces'][number] {
  const space = plan.spaces.find((candidate) => candidate.name === name);
  if (space !== undefined) return space;
  throw unknownName(
    'site',
    name,
    plan.spaces.map((candidate) => candidate.name),
  );
}

function placeOf(name: string, plugins: readonly string[]): number {
  const place = plugins.indexOf(name);
  if (place < 0) throw unknownName('plugin', name, plugins);
  return place;
}

function unknownName(what: string, name: string, known: readonly string[]): RequestError {
  return new RequestError('invalid', 'unknown_name', `there is no ${what} ${name}${nameRemedy(name, known)}`);
}

function requireAddress(text: string): void {
  if (parseAddress(text) !== undefined) return;
  const result = parsePrefix(text);
  if (result.ok) return;
  throw new RequestError('invalid', 'bad_address', `${result.message}; write an address or a prefix`);
}

function dropUndefined<T extends object>(object: T): { [Key in keyof T]?: NonNullable<T[Key]> } {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as never;
}
