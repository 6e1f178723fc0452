/**
 * Traffic in the lab: flows with identical five-tuples from many sites at once, and what came of them.
 *
 * Neighbours: `agent/flows.py` sends, `network.ts` has the hosts, `tokens.ts` tells the flows apart.
 */

import { eventually, PATIENCE } from '../patience.ts';
import type { FlowJob, FlowKind, FlowResult } from './agent.ts';
import { ECHO_PORT, type Network } from './network.ts';
import type { Tokens } from './tokens.ts';

export interface Flow extends FlowJob {
  readonly from: string;
  readonly to: string;
}

export interface Outcome extends FlowResult {
  readonly flow: Flow;
}

export interface FlowPattern {
  readonly from: readonly string[];
  readonly to: readonly string[];
  readonly families?: readonly (4 | 6)[];
  readonly kinds?: readonly FlowKind[];
  readonly count?: number;
  readonly intervalMs?: number;
  readonly graceMs?: number;
  /** Source ports and identifiers are counted up from here, the same for every sender. */
  readonly firstPort?: number;
  /** Of a datagram of kind `fragments`. */
  readonly fragmentedSize?: number;
  /** Of other messages. */
  readonly size?: number;
}

/** Datagrams that go on, not too fast for an emulated guest, whatever a test does meanwhile. */
export const LASTING = {
  kinds: ['udp'],
  count: 1_000_000,
  intervalMs: 100 * PATIENCE,
  graceMs: 100_000,
  firstPort: 30_000,
} as const satisfies Partial<FlowPattern>;

const ALL_KINDS: readonly FlowKind[] = ['tcp', 'udp', 'icmp', 'fragments'];

/** From every sender the same flows: same addresses, ports, identifiers and IP identifications. */
export function identicalFlows(network: Network, tokens: Tokens, pattern: FlowPattern): Flow[] {
  const { families = [4, 6], kinds = ALL_KINDS, firstPort = 20_000 } = pattern;
  const combinations = pattern.to.flatMap((to) =>
    families.flatMap((family) => kinds.map((kind) => ({ to, family, kind }))),
  );
  return combinations.flatMap(({ to, family, kind }, index) =>
    pattern.from.map((from) => ({
      from,
      to,
      kind,
      ...network.ends(from, to, family),
      sourcePort: firstPort + index,
      destinationPort: ECHO_PORT,
      token: tokens.issue(from, to),
      count: pattern.count ?? 5,
      intervalMs: pattern.intervalMs ?? 20,
      graceMs: (pattern.graceMs ?? 4000) * PATIENCE,
      size: kind === 'fragments' ? (pattern.fragmentedSize ?? 4000) : (pattern.size ?? 200),
      identification: 0x4000 + index * 64,
    })),
  );
}

/** Flows that have been started. */
export class Run {
  readonly flows: readonly Flow[];
  readonly #network: Network;
  readonly #number: number;

  private constructor(network: Network, flows: readonly Flow[], number: number) {
    this.#network = network;
    this.flows = flows;
    this.#number = number;
  }

  /** Starts flows, all at the same moment. */
  static async start(network: Network, flows: readonly Flow[]): Promise<Run> {
    return new Run(network, flows, await network.lab.agent().start(flows));
  }

  /** How far they have come. */
  async outcomes(): Promise<Outcome[]> {
    const results = await this.#network.lab.agent().results(this.#number);
    return results.map((result, index) => ({ ...result, flow: this.flows[index]! }));
  }

  /** Waits until every flow has had so many answers. */
  async answered(count: number): Promise<void> {
    await eventually(
      `every flow has ${count} answers`,
      async () => (await this.outcomes()).every(({ received }) => received >= count),
      30_000,
    );
  }

  /** Waits until every flow has so many answers more than it had. */
  async progressed(before: readonly Outcome[], count: number): Promise<void> {
    await eventually(
      `every flow has ${count} answers more`,
      async () =>
        (await this.outcomes()).every(({ received }, index) => received >= before[index]!.received + count),
      30_000,
    );
  }

  /** Waits until all are done. */
  finished(timeoutMs = 60_000): Promise<Outcome[]> {
    return eventually(
      'all flows are done',
      async () => {
        const outcomes = await this.outcomes();
        return outcomes.every(({ done }) => done) ? outcomes : undefined;
      },
      timeoutMs,
    );
  }

  /** Lets the flows end after the message at hand, and waits for that. */
  async stop(): Promise<Outcome[]> {
    await this.#network.lab.agent().stop(this.#number);
    return this.finished();
  }
}

/** Starts flows and waits for their end. */
export async function runFlows(network: Network, flows: readonly Flow[]): Promise<Outcome[]> {
  return (await Run.start(network, flows)).finished();
}

/** `paris to internet, UDP over IPv4: 3 of 5 answered, ...` for everything that is not as it should be. */
export function failuresOf(outcomes: readonly Outcome[]): string[] {
  return outcomes.filter((outcome) => !isComplete(outcome)).map(describeOutcome);
}

/** Every message answered, once and rightly. */
export function isComplete({ sent, received, wrong, duplicates, error }: FlowResult): boolean {
  return sent > 0 && received === sent && wrong === 0 && duplicates === 0 && error === null;
}

export function describeOutcome({ flow, sent, received, wrong, duplicates, error }: Outcome): string {
  const what = `${flow.from} to ${flow.to}, ${flow.kind} over IPv${flow.family} from port ${flow.sourcePort}`;
  const bad = `${wrong} wrong, ${duplicates} twice${error === null ? '' : `, ${error}`}`;
  return `${what}: ${received} of ${sent} answered, ${bad}`;
}
