/**
 * A flow record in the words of the operator: names instead of numbers, addresses as text, times left.
 *
 * Neighbours: `flow/layout.ts` (the record), `mapped-flow-memory.ts` (who copies it), `api/schemas/flows.ts` (the
 * same shape, checked).
 */

import { type FlowStateName, flowStateName } from '../../flow/flow-state.ts';
import {
  DIRECTION_BYTES,
  DIRECTION_EGRESS,
  DIRECTION_PACKETS,
  DIRECTION_WORDS,
  FLOW_ANSWERED,
  FLOW_ROUTED_REPLY,
  FLOW_UNVOUCHED,
  KEY_DST0,
  KEY_META,
  KEY_PORTS,
  KEY_SRC0,
  ORIGINATOR,
  REPLY,
  SHARED_CREATED,
  SHARED_ID,
  SHARED_INGRESS,
  SHARED_LAST_ORIGINATOR,
  SHARED_LAST_SEEN,
  SHARED_PLAN,
  SHARED_PLUGINS,
  SHARED_STATE,
  SHARED_TCP,
  SHARED_TRANSLATION,
} from '../../flow/layout.ts';
import { stateOf, TCP_STATE_NAMES } from '../../flow/tcp-endpoint.ts';
import {
  idleTimeoutMs,
  isTcpTimeoutClass,
  TIMEOUT_CLASS_NAMES,
  timeoutClassOf,
} from '../../flow/timeouts.ts';
import type { Plan } from '../../pipeline/plan.ts';
import { formatAddressWords } from '../../wire/address.ts';
import { swap16 } from '../../wire/byte-order.ts';
import { PROTOCOL_TCP } from '../../wire/packet.ts';
import { type Endpoints, reversed } from '../five-tuple.ts';
import { protocolName } from './protocols.ts';

/** Addresses and ports of one direction. Ports of ICMP are its identifier and 0; of protocols without, 0. */
export type FlowTuple = Endpoints<string>;

export interface FlowCount {
  readonly packets: number;
  /** Of IP packets. */
  readonly bytes: number;
}

export interface FlowView {
  /** Counts up; not used again. */
  readonly id: number;
  /** The site that it belongs to: the originator's; of a port forward, the one that it leads to. */
  readonly site: string;
  /** `tcp`, `udp`, `icmp`, `icmpv6`, or the protocol's number. */
  readonly protocol: string;
  readonly state: FlowStateName;
  /** TCP: what either end has sent so far. */
  readonly tcp: { readonly originator: string; readonly reply: string } | null;
  /** Address space of the originator, and of the responder: a site or an egress. */
  readonly from: string;
  readonly to: string;
  /** As the originator sends it. */
  readonly original: FlowTuple;
  /** As the responder sees it, where that differs; null: it leaves as it is. */
  readonly translated: FlowTuple | null;
  /** Where the originator's packets come in. */
  readonly ingress: string;
  /** Where they leave. */
  readonly egress: string;
  /** Where the replies go: the pin, or where they were routed. */
  readonly pin: string;
  readonly automaticReturnRouting: boolean;
  readonly answered: boolean;
  /** False: found after a restart; replies wait until the originator has spoken. */
  readonly vouched: boolean;
  readonly ageMs: number;
  /** Since its last packet. */
  readonly idleMs: number;
  readonly timeout: string;
  /** Until it ends, if nothing more comes. */
  readonly expiresInMs: number;
  readonly originator: FlowCount;
  readonly reply: FlowCount;
  /** The plugin that accepted it; null: all let it go on. */
  readonly acceptedBy: string | null;
  /** Plugins that still look at its packets. */
  readonly inspectedBy: readonly string[];
  /** Plan under which it was judged. */
  readonly planGeneration: number;
}

/** What a listing is made with. */
export interface ViewContext {
  readonly plan: Plan;
  /** In the order of the records' bits; empty if nobody can say. */
  readonly plugins: readonly string[];
  /** The data plane's clock: milliseconds since boot, as int32. */
  readonly nowMs: number;
  /** Seconds since boot. */
  readonly bootSeconds: number;
  /** Share of the table in use: idle times shrink with it. */
  readonly fillPermille: number;
}

/** Makes views of record copies; holds the names of one plan. */
export class FlowViewer {
  readonly #context: ViewContext;
  readonly #spaces: ReadonlyMap<number, { readonly name: string; readonly kind: string }>;
  readonly #ports: ReadonlyMap<number, string>;

  constructor(context: ViewContext) {
    this.#context = context;
    this.#spaces = new Map(context.plan.spaces.map(({ id, name, kind }) => [id, { name, kind }]));
    this.#ports = new Map(
      context.plan.ports.map(({ index, generation, name }) => [(generation << 16) | index, name]),
    );
  }

  /** The view of a copied record. `floats` are the same bytes as `words`. */
  view(words: Int32Array, floats: Float64Array): FlowView {
    const meta = words[KEY_META]!;
    const replyMeta = words[DIRECTION_WORDS + KEY_META]!;
    const protocol = (meta >>> 8) & 0xff;
    const family = meta & 0xff;
    const state = words[SHARED_STATE]!;
    const original = tupleOf(words, family, 0);
    const translated = reversed(tupleOf(words, family, DIRECTION_WORDS));
    const from = this.#spaces.get(meta >>> 16);
    const to = this.#spaces.get(replyMeta >>> 16);
    const site = from?.kind === 'egress' ? to : from;
    const timeoutClass = timeoutClassOf(state);
    const tcp = words[SHARED_TCP]!;
    const plugins = words[SHARED_PLUGINS]!;
    return {
      id: words[SHARED_ID]! >>> 0,
      site: site?.name ?? '?',
      protocol: protocolName(protocol),
      state: flowStateName(words, 0),
      tcp:
        protocol === PROTOCOL_TCP
          ? {
              originator: TCP_STATE_NAMES[stateOf(tcp, ORIGINATOR)] ?? '?',
              reply: TCP_STATE_NAMES[stateOf(tcp, REPLY)] ?? '?',
            }
          : null,
      from: from?.name ?? '?',
      to: to?.name ?? '?',
      original,
      translated: isSameTuple(original, translated) ? null : translated,
      ingress: this.#portName(words[SHARED_INGRESS]!),
      egress: this.#portName(words[DIRECTION_EGRESS]!),
      pin: this.#portName(words[DIRECTION_WORDS + DIRECTION_EGRESS]!),
      automaticReturnRouting: (state & FLOW_ROUTED_REPLY) === 0,
      answered: (state & FLOW_ANSWERED) !== 0,
      vouched: (state & FLOW_UNVOUCHED) === 0,
      ageMs: Math.max(0, Math.round((this.#context.bootSeconds - words[SHARED_CREATED]!) * 1000)),
      idleMs: this.#sinceMs(words[SHARED_LAST_SEEN]!),
      timeout: TIMEOUT_CLASS_NAMES[timeoutClass] ?? '?',
      expiresInMs: this.#expiresInMs(words, timeoutClass),
      originator: countOf(floats, 0),
      reply: countOf(floats, DIRECTION_WORDS),
      acceptedBy: plugins >>> 16 === 0 ? null : (this.#context.plugins[(plugins >>> 16) - 1] ?? '?'),
      inspectedBy: this.#inspectors(plugins & 0xffff),
      planGeneration: words[SHARED_PLAN]!,
    };
  }

  #sinceMs(thenMs: number): number {
    return Math.max(0, (this.#context.nowMs - thenMs) | 0);
  }

  /** As the sweep counts (`flow/table.ts`): what is translated and not TCP lives by its originator's packets. */
  #expiresInMs(words: Int32Array, timeoutClass: number): number {
    const byOriginator = words[SHARED_TRANSLATION] !== 0 && !isTcpTimeoutClass(timeoutClass);
    const seenMs = words[byOriginator ? SHARED_LAST_ORIGINATOR : SHARED_LAST_SEEN]!;
    return Math.max(0, idleTimeoutMs(timeoutClass, this.#context.fillPermille) - this.#sinceMs(seenMs));
  }

  #portName(word: number): string {
    return this.#ports.get(word) ?? `gone (${word & 0xffff}.${word >>> 16})`;
  }

  #inspectors(bits: number): string[] {
    const names: string[] = [];
    for (let at = 0; bits >>> at !== 0; at++) {
      if ((bits & (1 << at)) !== 0) names.push(this.#context.plugins[at] ?? '?');
    }
    return names;
  }
}

function tupleOf(words: Int32Array, family: number, line: number): FlowTuple {
  const src = line + KEY_SRC0;
  const dst = line + KEY_DST0;
  const ports = words[line + KEY_PORTS]!;
  return {
    source: formatAddressWords(family, words[src]!, words[src + 1]!, words[src + 2]!, words[src + 3]!),
    sourcePort: swap16(ports & 0xffff),
    destination: formatAddressWords(family, words[dst]!, words[dst + 1]!, words[dst + 2]!, words[dst + 3]!),
    destinationPort: swap16(ports >>> 16),
  };
}

function isSameTuple(a: FlowTuple, b: FlowTuple): boolean {
  return (
    a.source === b.source &&
    a.destination === b.destination &&
    a.sourcePort === b.sourcePort &&
    a.destinationPort === b.destinationPort
  );
}

function countOf(floats: Float64Array, line: number): FlowCount {
  return {
    packets: floats[(line + DIRECTION_PACKETS) >> 1]!,
    bytes: floats[(line + DIRECTION_BYTES) >> 1]!,
  };
}
