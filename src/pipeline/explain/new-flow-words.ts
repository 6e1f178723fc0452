/**
 * What would become of a flow that a packet begins: the stages of `flow-setup.ts` asked in their order, in words.
 *
 * Plugins are asked too: they see `hypothetical` in what they judge, and keep nothing.
 */
import {
  RETURN_ROUTED,
  VERDICT_ACCEPT,
  VERDICT_CONTINUE,
  VERDICT_DIVERT,
  VERDICT_DROP,
  VERDICT_HOLD,
  VERDICT_REJECT,
} from '../../plugin/contract.ts';
import { DROP, DROP_REASON_TEXTS } from '../../plugin/drop-reasons.ts';
import { formatAddressWords } from '../../wire/address.ts';
import { IPV4, type PacketView } from '../../wire/packet.ts';
import { externalEgress } from '../flow-route.ts';
import { FlowSetupStage } from '../flow-setup.ts';
import { HeldFlows } from '../held-flows.ts';
import type { PluginVerdict } from '../plugin-link.ts';
import { tupleHash } from '../tuple-hash.ts';
import type { ExplainerParts } from './explain.ts';
import type { Explanation } from './explanation.ts';
import { choiceWords, portsOf, routeAnswer } from './route-words.ts';
import type { Steps } from './steps.ts';
import { protocolWord, reversedTuple, translatedTuple, tupleOf, tupleWords, type Words } from './words.ts';

export class NewFlowWords {
  readonly #parts: ExplainerParts;
  readonly #words: Words;
  readonly #steps: Steps;
  readonly #setup: FlowSetupStage;

  constructor(parts: ExplainerParts, words: Words, steps: Steps) {
    this.#parts = parts;
    this.#words = words;
    this.#steps = steps;
    this.#setup = new FlowSetupStage(parts.state, parts.policy, new HeldFlows(0));
  }

  explain(view: PacketView, port: number, nowMs: number): Explanation {
    this.#setup.begin(view, port, nowMs);
    return (
      this.#routed(view, nowMs) ??
      this.#admitted(view, nowMs) ??
      this.#judged(view) ??
      this.#translated(view, nowMs) ??
      this.#departing(view) ??
      this.#steps.forward()
    );
  }

  #routed(view: PacketView, nowMs: number): Explanation | undefined {
    const steps = this.#steps;
    const words = this.#words;
    const setup = this.#setup;
    const { draft } = setup.proposal;
    const refused = setup.route(view, nowMs);
    const source = formatAddressWords(view.family, view.src0, view.src1, view.src2, view.src3);
    const sender = words.spaceOfKind(draft.originatorSpace);
    const responder = words.spaceOfKind(draft.responderSpace);
    if (!setup.mayStart(view)) {
      const text = `${protocolWord(view.protocol)} begins no flow; flow_table.other_protocols names protocols that do.`;
      return steps.refuse('sender', refused, text);
    }
    if (draft.responderSpace === 0) {
      if (refused === DROP.bad_source) {
        const text = `${source} cannot be a sender at ${words.portOfKind(draft.ingressPort)}: it is the gateway's own, or a site's and comes from outside.`;
        return steps.refuse('sender', refused, text);
      }
      steps.pass('sender', `${source} may begin a flow from ${sender}.`);
      return steps.refuse('route', refused, this.#routeText(view, refused));
    }
    steps.pass('sender', `${source} may begin a flow from ${sender}.`);
    steps.pass('route', this.#routeText(view, 0));
    steps.set({ to: words.space(draft.responderSpace) });
    if (refused === DROP.tuple_collision) {
      const text = `A flow of another site with ${responder} had this tuple a short while ago: the packet may be a late one of it.`;
      return steps.refuse('sender', refused, text);
    }
    if (refused === DROP.bad_source) {
      const text = `${sender} does not declare ${source}, and ${responder} would look for it elsewhere.`;
      return steps.refuse('sender', refused, text);
    }
    const all = portsOf(this.#parts.policy.ports, draft.responderSpace);
    const chosen = refused === 0 ? words.port(draft.egressPort) : undefined;
    const choice = choiceWords(all, chosen, responder);
    steps.set({ ports: all, egress: chosen ?? null });
    if (refused !== 0) return steps.refuse('egress', refused, choice);
    steps.pass('egress', choice);
    return undefined;
  }

  /** How the destination was, or was not, led to somebody. */
  #routeText(view: PacketView, refused: number): string {
    const { policy } = this.#parts;
    const { family, dst0, dst1, dst2, dst3 } = view;
    const { draft, reply } = this.#setup.proposal;
    const where = formatAddressWords(family, dst0, dst1, dst2, dst3);
    const sender = this.#words.spaceOfKind(draft.originatorSpace);
    const isForward = policy.portForwards.find(view) !== undefined;
    if (policy.ports.isEgress[draft.ingressPort] !== 0) {
      if (refused !== 0)
        return 'No port forward has this address, protocol and port, and nothing else comes in unasked.';
    } else if (refused === DROP.forbidden_protocol) {
      return `${DROP_REASON_TEXTS[refused]} It could forge the packets of another site's tunnel.`;
    } else if (!policy.gatewayAddresses.has(family, dst0, dst1, dst2, dst3)) {
      const address = { family, words: Int32Array.of(dst0, dst1, dst2, dst3) };
      return routeAnswer(policy.routes, this.#words, address, draft.originatorSpace).text;
    } else if (refused !== 0) {
      const outside = externalEgress(policy, view);
      return outside === undefined
        ? `${where} is one of the gateway's own addresses: no route is asked.`
        : `${where} is an external address of ${outside.name}, and this is no endpoint of ${sender}: no route is asked.`;
    }
    const inside = tupleOf(reply);
    const goal = tupleWords({ ...inside, destination: '', destinationPort: 0 }, view.protocol).split(
      ' to ',
    )[0];
    const means = isForward ? 'port forward' : 'external address that translation has given to it';
    return `The ${means} leads to ${goal} in ${this.#words.spaceOfKind(draft.responderSpace)}.`;
  }

  #admitted(view: PacketView, nowMs: number): Explanation | undefined {
    const { table, budgets } = this.#parts.state;
    const { perTunnel, createRatePerTunnel, createRatePerSource } = this.#parts.plan.flowTable;
    const port = this.#setup.proposal.draft.ingressPort;
    const refused = this.#setup.admit(view, nowMs);
    const limit = (most: number): string => (most === 0 ? 'no limit' : String(most));
    const fill = `The table holds ${table.live} of ${table.capacity} flows, ${budgets.liveFlows(port)} of ${this.#words.port(port)} (${limit(perTunnel)}).`;
    const rates = `New flows a second: ${limit(createRatePerTunnel)} for the tunnel, ${limit(createRatePerSource)} for the source.`;
    if (refused !== 0)
      return this.#steps.refuse('budget', refused, `${DROP_REASON_TEXTS[refused]} ${fill} ${rates}`);
    this.#steps.pass('budget', `${fill} ${rates} There is room.`);
    return undefined;
  }

  #judged(view: PacketView): Explanation | undefined {
    const { chain } = this.#parts.policy;
    const { draft } = this.#setup.proposal;
    const verdicts: PluginVerdict[] = [];
    chain.watchVerdicts((verdict) => verdicts.push(verdict));
    draft.hypothetical = true;
    const refused = this.#setup.judge(view);
    draft.hypothetical = false;
    chain.watchVerdicts(undefined);
    const last = verdicts.at(-1);
    for (const verdict of verdicts) {
      if (verdict === last && refused !== 0 && refused !== DROP.no_pin) {
        return this.#steps.refuse(
          'plugin',
          refused,
          verdictText(verdict),
          this.#setup.reject ? 'reject' : 'drop',
        );
      }
      this.#steps.pass('plugin', verdictText(verdict));
    }
    if (refused !== 0) {
      return this.#steps.refuse(
        'return',
        refused,
        'No plugin has said how replies find their way: there is no pin.',
      );
    }
    this.#returning(view);
    return undefined;
  }

  #returning(view: PacketView): void {
    const { ports } = this.#parts.policy;
    const { draft } = this.#setup.proposal;
    const ingress = this.#words.portOfKind(draft.ingressPort);
    if (draft.returnRouting === RETURN_ROUTED) {
      const back = this.#words.port(ports.select(draft.originatorSpace, tupleHash(view)));
      const site = this.#words.spaceOfKind(draft.originatorSpace);
      const text = `${ingress} has automatic return routing off: replies are routed, within ${site}, by ${back} now.`;
      this.#steps.pass('return', text);
      this.#steps.set({ pin: back });
      return;
    }
    this.#steps.pass(
      'return',
      `Replies are pinned to ${ingress}, by which the flow comes in: no route is asked for them.`,
    );
    this.#steps.set({ pin: this.#words.port(draft.ingressPort) });
  }

  #translated(view: PacketView, nowMs: number): Explanation | undefined {
    const { draft, originator, reply } = this.#setup.proposal;
    const refused = this.#setup.translate(view, false, nowMs);
    const inside = tupleOf(originator);
    if (refused !== 0) {
      const site = this.#words.spaceOfKind(draft.originatorSpace);
      return this.#steps.refuse('translation', refused, `For ${site}: ${DROP_REASON_TEXTS[refused]}`);
    }
    if (this.#parts.policy.chain.divertedTo >= 0) {
      this.#steps.set({
        to: this.#words.space(draft.responderSpace),
        egress: this.#words.port(draft.egressPort),
        ports: portsOf(this.#parts.policy.ports, draft.responderSpace),
      });
    }
    const outside = reversedTuple(tupleOf(reply));
    const [before, after] = [tupleWords(inside, view.protocol), tupleWords(outside, view.protocol)];
    this.#steps.set({ translated: translatedTuple(inside, outside) });
    this.#steps.pass('translation', `${this.#translationText(view, before, after)}`);
    return undefined;
  }

  #translationText(view: PacketView, before: string, after: string): string {
    const { slot, draft } = this.#setup.proposal;
    const port = this.#parts.policy.ports.get(draft.egressPort);
    if (slot >= 0) {
      const owner = this.#words.spaceOfKind(draft.originatorSpace);
      return `It leaves as ${after} instead of ${before}; that external port is given to ${owner} alone.`;
    }
    const changed = before === after ? `It leaves as it is` : `It leaves as ${after} instead of ${before}`;
    if (port?.role === 'diversion') {
      return `${changed}: that source is this flow's alone, and the proxy behind ${port.name} listens there.`;
    }
    if (port?.role === 'egress') {
      const family = view.family === IPV4 ? 'ipv4' : 'ipv6';
      return `${changed}: ${port.name} has nat.${family} none, and the site declares the source.`;
    }
    if (this.#parts.policy.ports.isEgress[draft.ingressPort] !== 0) return `${changed}, by the port forward.`;
    return before === after
      ? `${changed}: no other site has, or lately had, this tuple towards ${this.#words.space(draft.responderSpace)}.`
      : `${changed}: another site has, or lately had, that tuple towards ${this.#words.space(draft.responderSpace)}.`;
  }

  #departing(view: PacketView): Explanation | undefined {
    const { link, departure } = this.#parts;
    const { draft, reply } = this.#setup.proposal;
    const egress = draft.egressPort;
    const name = this.#words.portOfKind(egress);
    const mtu = link.portMtu(egress);
    const refused = departure.obstacle(view, egress, 0);
    if (refused !== 0) {
      return this.#steps.refuse(
        'mtu',
        refused,
        `${view.length} bytes do not fit into the ${mtu} of ${name}: the sender is told.`,
      );
    }
    this.#steps.pass('mtu', `${view.length} bytes fit into the ${mtu} of ${name}.`);
    const { src0, src1, src2, src3 } = reply;
    if (link.failedNeighbors !== 0 && link.isUnreachable(egress, view.family, src0, src1, src2, src3)) {
      const text = `The host or router on ${name} that it would be handed to does not answer: the sender is told.`;
      return this.#steps.refuse('neighbor', DROP.neighbor_unresolved, text);
    }
    if (link.portState(egress) === 'unresolved') {
      this.#steps.pass('neighbor', `The next hop of ${name} has not answered yet: the packet waits for it.`);
    }
    return undefined;
  }
}

function verdictText({ plugin, verdict, reason, wantsPackets }: PluginVerdict): string {
  const why = reason === '' ? '' : ` (${reason})`;
  const looks = wantsPackets ? ' It wants to see the packets of the flow.' : '';
  switch (verdict) {
    case 'skipped':
      return `${plugin} is not asked: another plugin has accepted the flow.`;
    case 'elsewhere':
      return `${plugin} is not asked about flows that come in here.`;
    case 'tripped':
      return `${plugin} is out of use since it failed: its policy for exceptions decides.`;
    case VERDICT_HOLD:
      return `${plugin} holds the flow until its control half has decided${why}.`;
    case 'failed':
      return `${plugin} failed, and its failure policy decides.`;
    case VERDICT_CONTINUE:
      return `${plugin} lets the flow go on${why}.${looks}`;
    case VERDICT_ACCEPT:
      return `${plugin} accepts the flow${why}.${looks}`;
    case VERDICT_DIVERT:
      return `${plugin} diverts the flow to its proxy${why}.${looks}`;
    case VERDICT_DROP:
      return `${plugin} drops the flow${why}.`;
    case VERDICT_REJECT:
      return `${plugin} rejects the flow${why}: the sender is told.`;
    default:
      return `${plugin} answers what this version of homeward cannot do${why}: the flow is dropped.`;
  }
}
