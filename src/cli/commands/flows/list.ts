import { Flags } from '@oclif/core';
import { listFlows } from '../../../api/client/flows.ts';
import type { FlowPageBody } from '../../../api/schemas/flows.ts';
import { HomewardCommand } from '../../command.ts';
import { CONNECTION_FLAGS } from '../../connection.ts';
import { FLOW_FLAGS, flowConditions } from '../../flow-flags.ts';
import { flowTable } from '../../flow-text.ts';

export default class FlowsList extends HomewardCommand {
  static override summary = 'List flows: both tuples, state, pin and counters.';
  static override description =
    `All conditions that are given must hold. FROM and TO are as the originator sends them, SEEN AS is
its address as the responder sees it. The list is read from the flow memory; the data plane is not asked.`;
  static override examples = [
    '<%= config.bin %> flows list --site paris --proto tcp --dport 443',
    '<%= config.bin %> flows list --address 10.0.1.0/24 --state established --limit 1000',
    '<%= config.bin %> flows list --sort bytes --limit 10',
  ];
  static override flags = {
    ...CONNECTION_FLAGS,
    ...FLOW_FLAGS,
    limit: Flags.integer({ summary: 'Most flows.', default: 100, min: 1, max: 1_000_000, helpValue: 'N' }),
    sort: Flags.string({
      summary: 'What comes first; at most 10000 flows then.',
      options: ['bytes', 'packets', 'newest'],
    }),
  };

  async run(): Promise<FlowPageBody> {
    const { flags } = await this.parse(FlowsList);
    const order = flags.sort as 'bytes' | 'packets' | 'newest' | undefined;
    const page = await listFlows(await this.connect(flags), flowConditions(flags), flags.limit, order);
    this.log(flowTable(page.flows));
    const shown = `${page.flows.length} shown, ${page.total} of ${page.capacity} flows in the table`;
    this.log(`\n${shown}${page.next === null ? '' : '; there are more: --limit'}`);
    return page;
  }
}
