/**
 * A gateway that runs, with two sites that have the same addresses, for tests of plugins: options are applied by the API,
 * and the same new flow from both sites says whom they let through.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { applyConfig } from '../../../src/api/client/config.ts';
import { ApiClient } from '../../../src/api/client.ts';
import { Lab } from '../lab.ts';
import { eventually, PATIENCE } from '../patience.ts';
import { startNetwork } from './lab-test.ts';
import type { Network } from './network.ts';
import { gatewayConfiguration } from './sites.ts';
import { Tokens } from './tokens.ts';
import { type Flow, type FlowPattern, identicalFlows, runFlows } from './traffic.ts';

const SPEC = {
  sites: [
    { name: 'paris', attachment: 'on-link' },
    { name: 'lyon', attachment: 'on-link' },
  ],
} as const;

/** Names of both sites. */
export const SITES = SPEC.sites.map(({ name }) => name);

export class TwoSites {
  readonly lab: Lab;
  readonly network: Network;
  readonly client: ApiClient;
  private readonly tokens = new Tokens();
  private firstPort = 20_000;

  private constructor(lab: Lab, network: Network) {
    this.lab = lab;
    this.network = network;
    this.client = new ApiClient(join(network.gateway.runtimeDirectory, 'api.sock'), 30_000 * PATIENCE);
  }

  /** Starts it, without plugins. */
  static async start(): Promise<TwoSites> {
    const lab = new Lab();
    try {
      const rig = new TwoSites(lab, await startNetwork(lab, SPEC));
      await eventually('everybody is known', async () => (await rig.answered()).join() === SITES.join());
      return rig;
    } catch (error) {
      await lab.remove();
      throw error;
    }
  }

  remove(): Promise<void> {
    return this.lab.remove();
  }

  /** The lab's configuration with these plugins. */
  configuration(...plugins: readonly object[]): string {
    const rates = { create_rate: { per_tunnel: '20000/s', per_source: '20000/s' } };
    return stringify({ ...gatewayConfiguration(SPEC), flow_table: rates, plugins });
  }

  /** Runs it. */
  async run(...plugins: readonly object[]): Promise<void> {
    await applyConfig(this.client, { text: this.configuration(...plugins) });
  }

  /** Flows with five-tuples that no flow has had before, from both sites to the data centre's echo server. */
  newFlows(pattern: Partial<FlowPattern>): Flow[] {
    return identicalFlows(this.network, this.tokens, {
      from: SITES,
      to: ['datacenter'],
      kinds: ['udp'],
      families: [4],
      ...pattern,
      firstPort: this.firstPort++,
    });
  }

  /** Sends the same new flow from both sites; the sites that were answered. */
  async answered(): Promise<string[]> {
    const outcomes = await runFlows(this.network, this.newFlows({ count: 3, graceMs: 700 }));
    for (const { wrong, flow } of outcomes) assert.equal(wrong, 0, flow.from);
    return outcomes.filter(({ received }) => received > 0).map(({ flow }) => flow.from);
  }
}
