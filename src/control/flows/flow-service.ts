/**
 * Flows for operators: listed, shown, flushed, explained.
 *
 * Listing reads the mapped flow memory and asks nobody; it works while the data plane is away, too. Flushing is
 * the data plane's, by the same conditions, and so is explaining. Neighbours: `flow-list.ts`, `flow-view.ts`, `flow-query.ts`;
 * `gateway.ts` owns one.
 */
import { uptime } from 'node:os';
import { type FlowConditions, flowTest } from '../../flow/flow-conditions.ts';
import type { FlowMemory } from '../../flow/flow-memory.ts';
import type { Explanation, Question } from '../../pipeline/explain/explanation.ts';
import type { Plan } from '../../pipeline/plan.ts';
import { RequestError } from '../request-error.ts';
import { type ExplainQuery, packetQuestion } from './explain-query.ts';
import { countFlows, type FlowOrder, type ListedRecords, listRecords } from './flow-list.ts';
import { conditionsOf, type FlowQuery } from './flow-query.ts';
import { type FlowView, FlowViewer } from './flow-view.ts';
import type { MappedFlowMemory } from './mapped-flow-memory.ts';

/** Flows that are named where several look alike. */
const MAX_CANDIDATES = 8;

export interface FlowListQuery extends FlowQuery {
  /** Most flows of a page. */
  readonly limit: number;
  /** Where the page before ended: its `next`. */
  readonly cursor?: string | undefined;
  /** Sorted listings have one page. */
  readonly order?: FlowOrder | undefined;
}

export interface FlowPage {
  readonly flows: readonly FlowView[];
  /** Flows of the table, whatever was asked for. */
  readonly total: number;
  readonly capacity: number;
  /** `cursor` of the next page; null: there is none. */
  readonly next: string | null;
}

/** What the service needs of the gateway. */
export interface FlowSource {
  /** The running plan; undefined before the first. */
  plan(): Plan | undefined;
  readonly memory: MappedFlowMemory;
  /** Ends flows in the data plane; resolves to their number. Rejects if there is none. */
  flush(conditions: FlowConditions): Promise<number>;
  /** Asks the data plane; null: there is no such flow or port. Rejects if there is none. */
  explain(question: Question): Promise<Explanation | null>;
}

export class FlowService {
  readonly #source: FlowSource;

  constructor(source: FlowSource) {
    this.#source = source;
  }

  /**
   * A page of flows.
   *
   * @throws RequestError if the query names what is not there, or no flow memory can be read
   */
  async list(query: FlowListQuery): Promise<FlowPage> {
    const { plan, memory } = this.#ready();
    const { limit, order } = query;
    if (order !== undefined && query.cursor !== undefined) {
      throw new RequestError('invalid', 'bad_cursor', 'a sorted listing has one page; leave the cursor out');
    }
    const after = query.cursor === undefined ? -1 : cursorRecord(query.cursor);
    const conditions = conditionsOf(query, plan, memory.plugins ?? []);
    const total = await countFlows(memory);
    const listed = await listRecords(memory, flowTest(conditions), { limit, after, order });
    return {
      flows: viewed(listed, plan, memory, total),
      total,
      capacity: memory.capacity,
      next: listed.next === undefined ? null : String(listed.next),
    };
  }

  /**
   * One flow.
   *
   * @throws RequestError `no_such_flow`
   */
  async show(id: number): Promise<FlowView> {
    const [flow] = (await this.list({ id, limit: 1 })).flows;
    if (flow === undefined) throw noSuchFlow(id);
    return flow;
  }

  /**
   * How many flows a query picks now.
   *
   * @throws RequestError as {@link list}; `no_such_flow` for an id without its flow
   */
  async count(query: FlowQuery): Promise<number> {
    const { plan, memory } = this.#ready();
    const test = flowTest(conditionsOf(query, plan, memory.plugins ?? []));
    const { matched } = await listRecords(memory, test, { limit: 0, after: -1, order: 'newest' });
    if (matched === 0 && query.id !== undefined) throw noSuchFlow(query.id);
    return matched;
  }

  /**
   * Ends flows; resolves to their number. Their tuples stay held, as after any end.
   *
   * @throws RequestError as {@link count}; DataPlaneGoneError
   */
  async flush(query: FlowQuery): Promise<number> {
    const { plan, memory } = this.#ready();
    const ended = await this.#source.flush(conditionsOf(query, plan, memory.plugins ?? []));
    if (ended === 0 && query.id !== undefined) throw noSuchFlow(query.id);
    return ended;
  }

  /**
   * What would become of a packet, or becomes of a flow, and why.
   *
   * @throws RequestError if the query makes no sense, or the flow is not there, or is several; DataPlaneGoneError
   */
  async explain(query: ExplainQuery): Promise<Explanation> {
    const { plan } = this.#ready();
    const question: Question =
      query.fromTunnel === undefined
        ? { kind: 'flow', flow: query.flow ?? (await this.#flowLike(query)) }
        : packetQuestion(query, plan);
    const explanation = await this.#source.explain(question);
    if (explanation !== null) return explanation;
    throw question.kind === 'flow'
      ? noSuchFlow(question.flow)
      : new RequestError('unavailable', 'plan_changing', 'the data plane has another plan now; try again');
  }

  /** The live flow that looks like this. */
  async #flowLike(query: ExplainQuery): Promise<number> {
    const { source, destination, site, protocol, sourcePort, destinationPort } = query;
    if (source === undefined || destination === undefined) {
      throw new RequestError(
        'invalid',
        'explain_what',
        'give the id of a flow, its source and destination, or the tunnel that a packet would come in by',
      );
    }
    const { flows } = await this.list({
      source,
      destination,
      site,
      protocol,
      sourcePort,
      destinationPort,
      limit: MAX_CANDIDATES,
    });
    const [flow] = flows;
    if (flow === undefined) {
      throw new RequestError(
        'not_found',
        'no_such_flow',
        'no flow looks like this; name the tunnel it would come in by, and a packet is explained',
      );
    }
    if (flows.length === 1) return flow.id;
    const ids = flows.map(({ id, site: owner }) => `${id} (${owner})`).join(', ');
    throw new RequestError(
      'conflict',
      'several_flows',
      `several flows look like this: ${ids}; give the id of one`,
    );
  }

  /** The plan in force and the flow memory. */
  #ready(): { readonly plan: Plan; readonly memory: FlowMemory } {
    const plan = this.#source.plan();
    const memory = this.#source.memory.get();
    if (plan !== undefined && memory !== undefined) return { plan, memory };
    throw new RequestError('unavailable', 'no_flow_memory', 'there is no flow memory yet; try again');
  }
}

function viewed(listed: ListedRecords, plan: Plan, memory: FlowMemory, total: number): FlowView[] {
  const viewer = new FlowViewer({
    plan,
    plugins: memory.plugins ?? [],
    nowMs: flowClockMs(memory),
    bootSeconds: uptime(),
    fillPermille: Math.floor((total * 1000) / memory.capacity),
  });
  return listed.copies.map(({ words, floats }) => viewer.view(words, floats));
}

/** Milliseconds since boot as int32: by our own clock, or by the data plane's last word where that is later. */
export function flowClockMs(memory: FlowMemory): number {
  const ownMs = Math.floor(uptime() * 1000) | 0;
  const lastAliveMs = memory.lastAliveMs;
  return ((lastAliveMs - ownMs) | 0) > 0 ? lastAliveMs : ownMs;
}

function noSuchFlow(id: number): RequestError {
  return new RequestError('not_found', 'no_such_flow', `there is no flow ${id}; it may have ended`);
}

function cursorRecord(cursor: string): number {
  if (/^\d{1,9}$/.test(cursor)) return Number(cursor);
  throw new RequestError(
    'invalid',
    'bad_cursor',
    `${cursor} is not where a page ended; leave the cursor out`,
  );
}
