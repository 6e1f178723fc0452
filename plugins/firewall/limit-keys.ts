/**
 * Who a limit is about, as two words: a hash of the rule and of what the limit counts by.
 *
 * The hash is seeded, so nobody chooses whom to share with; 64 bits, so nobody does by chance. Neighbours:
 * `rate-limits.ts`, `concurrent-limits.ts`.
 */
import { finishHash, hash10, mixWord } from '../../src/flow/hash.ts';
import type { FlowSetup } from '../../src/plugin/contract.ts';
import type { PacketView } from '../../src/wire/packet.ts';
import { LIMIT_KEYS, type LimitKey } from './limit-options.ts';

const PER_SOURCE = LIMIT_KEYS.indexOf('source');
const PER_DESTINATION = LIMIT_KEYS.indexOf('destination');
const PER_TUNNEL = LIMIT_KEYS.indexOf('tunnel');
const PER_SITE = LIMIT_KEYS.indexOf('site');

/** A {@link LimitKey} as a number. */
export function limitKeyNumber(key: LimitKey): number {
  return LIMIT_KEYS.indexOf(key);
}

/** Whether there are as many of these as senders like: they share a table of limited size. */
export function isManyfold(key: number): boolean {
  return key === PER_SOURCE || key === PER_DESTINATION;
}

/** A rule's part of the hash: of what it is recognized by. */
export function identityHash(identity: string): number {
  let state = 0x811c9dc5;
  for (let i = 0; i < identity.length; i++) state = mixWord(state, identity.charCodeAt(i), 0x01000193);
  return finishHash(state);
}

export class LimitKeyHash {
  /** The last key. `high` is never 0. */
  low = 0;
  high = 1;
  private readonly seeds: Int32Array;

  /** `seeds`: four words that nobody outside knows. */
  constructor(seeds: Int32Array) {
    this.seeds = seeds;
  }

  /** Computes the key of a packet for the limit of a rule; `generations` of ports: one may be another tunnel's by now. */
  of(rule: number, per: number, view: PacketView, flow: FlowSetup, generations: Int32Array): void {
    switch (per) {
      case PER_SOURCE:
        this.set(rule, flow.originatorSpace, view.src0, view.src1, view.src2, view.src3);
        break;
      case PER_DESTINATION:
        this.set(rule, flow.responderSpace, view.dst0, view.dst1, view.dst2, view.dst3);
        break;
      case PER_TUNNEL:
        this.set(rule, flow.ingressPort, generations[flow.ingressPort]!, 0, 0, 0);
        break;
      case PER_SITE:
        this.set(rule, flow.originatorSpace, 0, 0, 0, 0);
        break;
      default:
        this.set(rule, 0, 0, 0, 0, 0);
    }
  }

  private set(rule: number, place: number, a: number, b: number, c: number, d: number): void {
    const { seeds } = this;
    this.low = hash10(seeds[0]!, seeds[1]! | 1, rule, place, a, b, c, d, 0, 0, 0, 0);
    this.high = hash10(seeds[2]!, seeds[3]! | 1, rule, place, a, b, c, d, 0, 0, 0, 0) | 1;
  }
}
