/**
 * A flow that may come about: what the stages of `flow-setup.ts` have found out so far. One object, reused for
 * every new flow; each stage fills in its part and reads those of the stages before it.
 *
 * ```
 *  originator   what its packets look like when they arrive           routing
 *  reply        what the responder's look like: the destination as    routing: spaces, responder's address
 *               the responder has it, the source as it sees it        translation: originator's address
 *  draft        ports, spaces, return routing: what plugins see       routing, plugins
 *  slot         the external port that the flow would have            translation
 * ```
 */
import { FlowKey, keyMeta } from '../flow/layout.ts';
import type { PacketView } from '../wire/packet.ts';
import { FlowDraft } from './plugin-link.ts';
import { swapPorts } from './translate.ts';

export class FlowProposal {
  readonly originator = new FlowKey();
  readonly reply = new FlowKey();
  readonly draft = new FlowDraft();
  /** Translation slot, -1 for none. */
  slot = -1;

  /** Begins at `nowMs` with a packet that came in by `port` from `space`; the reply is its mirror image. */
  begin(view: PacketView, port: number, space: number, nowMs: number): void {
    writeKey(this.originator, view, space);
    writeReversed(this.reply, this.originator);
    this.draft.ingressPort = port;
    this.draft.egressPort = -1;
    this.draft.originatorSpace = space;
    this.draft.responderSpace = 0;
    this.draft.nowMs = nowMs;
    this.slot = -1;
  }

  /** The responder's space is known. */
  lead(space: number): void {
    this.draft.responderSpace = space;
    const { meta } = this.originator;
    this.reply.meta = keyMeta(space, (meta >>> 8) & 0xff, meta & 0xff);
  }
}

/** Fills a key with what the packet looks like as it arrives from `space`. */
function writeKey(key: FlowKey, view: PacketView, space: number): void {
  key.src0 = view.src0;
  key.src1 = view.src1;
  key.src2 = view.src2;
  key.src3 = view.src3;
  key.dst0 = view.dst0;
  key.dst1 = view.dst1;
  key.dst2 = view.dst2;
  key.dst3 = view.dst3;
  key.ports = view.ports;
  key.meta = keyMeta(space, view.protocol, view.family);
}

function writeReversed(key: FlowKey, of: FlowKey): void {
  key.src0 = of.dst0;
  key.src1 = of.dst1;
  key.src2 = of.dst2;
  key.src3 = of.dst3;
  key.dst0 = of.src0;
  key.dst1 = of.src1;
  key.dst2 = of.src2;
  key.dst3 = of.src3;
  key.ports = swapPorts(of.ports);
  key.meta = of.meta;
}
