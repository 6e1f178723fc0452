/**
 * Explains what would become of a packet, or becomes of a flow, and why.
 *
 * Nothing is decided here. A packet is built, and the stages that set flows up (`flow-setup.ts`) are asked about it
 * one after the other, with everything that they read: plan, table, budgets, external ports, held tuples. They
 * change nothing when they are only asked, so an explanation is what would happen now. Here are the words for
 * their answers, and for why.
 *
 * ```
 *  decode ── lookup ─┬─ hit ──► flow-words.ts
 *                    └─ miss ──► own address? ── new-flow-words.ts
 * ```
 *
 * For the control path: it allocates. Neighbours: `explanation.ts` (questions and answers), `route-words.ts`.
 */
import { DROP, DROP_REASON_TEXTS } from '../../plugin/drop-reasons.ts';
import { formatAddressWords } from '../../wire/address.ts';
import { decode } from '../../wire/decode.ts';
import { ICMP_QUERY, type PacketView } from '../../wire/packet.ts';
import type { Departure } from '../departure.ts';
import type { FlowPolicy, FlowState } from '../flow-policy.ts';
import type { LinkLayer } from '../link/link-layer.ts';
import type { Plan } from '../plan.ts';
import { planAddress } from '../plan-address.ts';
import { isAddress } from '../port-table.ts';
import type { StreamStage } from '../stream/stream-stage.ts';
import {
  type Explanation,
  NO_EXPLANATION,
  type PacketQuestion,
  type Question,
  type RouteQuestion,
} from './explanation.ts';
import { FlowWords } from './flow-words.ts';
import { NewFlowWords } from './new-flow-words.ts';
import { questionPacket } from './question-packet.ts';
import { choiceWords, portsOf, routeAnswer } from './route-words.ts';
import { Steps } from './steps.ts';
import { listed, protocolWord, tupleWords, Words } from './words.ts';

/** What forwards now. */
export interface ExplainerParts {
  readonly plan: Plan;
  readonly policy: FlowPolicy;
  readonly state: FlowState;
  readonly link: LinkLayer;
  readonly departure: Departure;
  readonly streams: StreamStage;
}

export class Explainer {
  readonly #parts: ExplainerParts;
  readonly #words: Words;
  readonly #flows: FlowWords;

  constructor(parts: ExplainerParts) {
    this.#parts = parts;
    this.#words = new Words(parts.plan);
    this.#flows = new FlowWords(parts, this.#words);
  }

  /**
   * Answers a question; undefined if it is about a flow or port that is not there.
   *
   * @throws Error for texts that are no addresses, or of two families
   */
  explain(question: Question, nowMs: number): Explanation | undefined {
    switch (question.kind) {
      case 'packet':
        return this.#packet(question, nowMs);
      case 'route':
        return this.#route(question);
      case 'flow':
        return this.#flows.explain(question.flow);
    }
  }

  #packet(question: PacketQuestion, nowMs: number): Explanation | undefined {
    const { policy, state } = this.#parts;
    const { port } = question;
    const words = this.#words;
    if (policy.ports.get(port) === undefined) return undefined;
    const { view, offset, lengthBytes } = questionPacket(question);
    const code = decode(view, offset, lengthBytes);
    const space = code === 0 ? policy.ports.spaceOfArrived(port, view) : policy.ports.spaceOf[port]!;
    const steps = new Steps({ ...NO_EXPLANATION, ingress: words.port(port), from: words.space(space) });
    const what = `${protocolWord(question.protocol)} ${tupleWords(question, question.protocol)}`;
    if (code !== 0)
      return steps.refuse('packet', code, `${what} is never forwarded. ${DROP_REASON_TEXTS[code]}`);
    steps.pass('packet', `${what}, ${lengthBytes} bytes, comes in by ${words.portOfKind(port)}.`);
    if (policy.ports.wordOf[port] === 0) {
      return steps.refuse('packet', DROP.port_down, `${words.portOfKind(port)} is down or disabled.`);
    }
    steps.pass(
      'space',
      `Its five-tuple means something in the address space of ${words.spaceOfKind(space)} only.`,
    );
    const reference = state.table.find(view, space);
    if (reference >= 0) return steps.goOn(this.#flows.hit(reference >> 1, reference & 1, port));
    steps.pass('flow', 'No flow there has it: a new one would begin.');
    const own = this.#ownAddress(view, port, steps);
    return own ?? new NewFlowWords(this.#parts, words, steps).explain(view, port, nowMs);
  }

  /** As `OwnErrors.deliver` answers: ping to an address of the port itself, and nothing else. */
  #ownAddress(view: PacketView, port: number, steps: Steps): Explanation | undefined {
    const { ports } = this.#parts.policy;
    const { family, dst0, dst1, dst2, dst3 } = view;
    if (ports.isEgress[port] !== 0) return undefined;
    const own = ports.addressesOf(port);
    if (!own.some((address) => isAddress(address, family, dst0, dst1, dst2, dst3))) return undefined;
    const text = formatAddressWords(family, dst0, dst1, dst2, dst3);
    const where = `${text} is the gateway's own address on ${this.#words.portOfKind(port)}`;
    if (view.icmpKind === ICMP_QUERY) return steps.answer('own_address', `${where}: it answers the ping.`);
    return steps.refuse('own_address', DROP.local_delivery, `${where}, where it answers only ping.`);
  }

  #route({ address: text, port }: RouteQuestion): Explanation | undefined {
    const { ports, routes, gatewayAddresses } = this.#parts.policy;
    const words = this.#words;
    if (port !== undefined && ports.get(port) === undefined) return undefined;
    const sender = port === undefined ? 0 : ports.spaceOf[port]!;
    const steps = new Steps({
      ...NO_EXPLANATION,
      from: sender === 0 ? null : words.space(sender),
      ingress: port === undefined ? null : words.port(port),
    });
    const address = planAddress(text);
    const [word0, word1, word2, word3] = address.words as unknown as [number, number, number, number];
    if (gatewayAddresses.has(address.family, word0, word1, word2, word3)) {
      return steps.refuse(
        'own_address',
        DROP.gateway_destination,
        `${text} is one of the gateway's own addresses: no route is asked.`,
      );
    }
    const answer = routeAnswer(routes, words, address, sender);
    if (answer.space === 0) return steps.refuse('route', answer.reason, answer.text);
    steps.pass('route', answer.text);
    const all = portsOf(ports, answer.space);
    const candidates = all.filter(({ isCandidate }) => isCandidate).map(({ name }) => name);
    steps.set({ to: words.space(answer.space), ports: all });
    if (candidates.length > 1) {
      steps.pass(
        'egress',
        `${listed(candidates)} have the best priority; a flow's five-tuple chooses among them.`,
      );
      return steps.forward();
    }
    const choice = choiceWords(all, candidates[0], words.spaceOfKind(answer.space));
    if (candidates[0] === undefined) return steps.refuse('egress', DROP.port_down, choice);
    steps.pass('egress', choice);
    steps.set({ egress: candidates[0] });
    return steps.forward();
  }
}
