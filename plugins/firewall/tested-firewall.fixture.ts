/** The data half for tests: what it says of packets, counts and logs, with a clock that the test sets. And within a gateway. */

import { topologyOf } from '../../src/dataplane/plugin-topology.ts';
import { PluginStanding } from '../../src/pipeline/plugin-standing.ts';
import {
  type FlowHandle,
  type FlowSetup,
  type Json,
  type PluginTopology,
  VERDICT_CONTINUE,
} from '../../src/plugin/contract.ts';
import type { PacketSpec } from '../../src/wire/build.ts';
import { MemoryGateway } from '../../test/support/memory-gateway.ts';
import { tcp, udp } from '../../test/support/packets.ts';
import { FLOWS, TOPOLOGY, viewOf } from './firewall.fixture.ts';
import { Firewall, FLOW_STATE_BYTES } from './firewall.ts';

export const SYN = 0x02;
export const WEDNESDAY_NOON = Date.UTC(2026, 10, 25, 12, 0, 0);

/** A firewall and what it says of packets. */
export class Tested {
  readonly counters: Record<string, number> = {};
  readonly lines: string[] = [];
  readonly topics = new Set<string>();
  readonly firewall: Firewall;
  reason = '';
  wallClockMs = WEDNESDAY_NOON;
  nowMs = 1000;
  private readonly states: Int32Array[] = [];

  constructor(options: object) {
    this.firewall = new Firewall(
      {
        name: 'firewall',
        log: (_level, text, topic = '') => {
          this.lines.push(text);
          this.topics.add(topic);
        },
        counter: (name) => () => {
          this.counters[name] = (this.counters[name] ?? 0) + 1;
        },
        reason: (text) => {
          this.reason = text;
        },
        nowMs: () => this.nowMs,
        send: () => true,
      },
      { wallClockMs: () => this.wallClockMs, random: (words) => new Int32Array(words).fill(0x5eed) },
    );
    this.configure(options);
  }

  configure(options: object, topology: PluginTopology = TOPOLOGY): void {
    this.firewall.configure({ options: { default: 'drop', ...options }, topology })();
  }

  /** The verdict of a packet; the flow begins if it may and `begins`. */
  judge(
    spec: PacketSpec,
    of: FlowSetup = FLOWS.outbound,
    rest: Partial<FlowSetup> = {},
    begins = true,
  ): number {
    const state = new Int32Array(FLOW_STATE_BYTES / 4);
    const view = viewOf(spec);
    const verdict = this.firewall.flowSetup(view, { ...of, nowMs: this.nowMs, state, stateAt: 0, ...rest });
    if (verdict === VERDICT_CONTINUE && begins && rest.hypothetical !== true) {
      this.firewall.flowStart(view, { state, stateAt: 0 } as FlowHandle);
      this.states.push(state);
    }
    return verdict;
  }

  /** Ends the flow that began first. */
  end(): void {
    this.endIn(this);
  }

  /** Ends it in another firewall, which has taken over. */
  endIn({ firewall }: Tested): void {
    firewall.flowEnd({ state: this.states.shift()!, stateAt: 0 } as FlowHandle);
  }
}

/** A firewall in a gateway in memory, between the sites `paris` and `dc`. */
export class FirewalledGateway {
  readonly tested = new Tested({});
  readonly standing = new PluginStanding(FLOW_STATE_BYTES);
  readonly gateway = new MemoryGateway({
    sites: [
      { name: 'paris', prefixes: ['10.0.1.0/24', 'fd00:1::/64'] },
      { name: 'dc', prefixes: ['10.50.0.0/16', 'fd00:50::/64'] },
    ],
    policyPlugins: [
      { name: 'firewall', phase: 'policy', half: this.tested.firewall, standing: this.standing },
    ],
  });

  constructor(options: object) {
    this.configure(options);
  }

  configure(options: object): void {
    this.tested.firewall.configure({ options, topology: topologyOf(this.gateway.plan) })();
  }
}

/** What the next instance reads. */
export const exported = ({ firewall }: Tested): Json => JSON.parse(JSON.stringify(firewall.exportState()));

/** First packets of flows. */
export const web = (source = '10.0.1.5', port = 40000): PacketSpec =>
  tcp(`${source} ${port}`, '192.0.2.80 443', SYN);
export const dns = (source = '10.0.1.5'): PacketSpec => udp(`${source} 40000`, '192.0.2.53 53');
