import { Flags } from '@oclif/core';
import { flushFlows } from '../../../api/client/flows.ts';
import { HomewardCommand } from '../../command.ts';
import { CONNECTION_FLAGS } from '../../connection.ts';
import { FLOW_FLAGS, flowConditions } from '../../flow-flags.ts';
import { counted } from '../../table.ts';
import { wrongUsage } from '../../wrong-usage.ts';

export default class FlowsFlush extends HomewardCommand {
  static override summary = 'End flows.';
  static override description =
    `The same conditions as for "flows list" say which; every flow only with --all. Ports and
tuples of what ends stay held for a while, as after any end: no other site gets them.`;
  static override examples = [
    '<%= config.bin %> flows flush --tunnel paris-gre --dry-run',
    '<%= config.bin %> flows flush --site paris --address 10.0.1.20',
    '<%= config.bin %> flows flush --id 4711',
  ];
  static override flags = {
    ...CONNECTION_FLAGS,
    id: Flags.integer({ summary: 'One flow.', helpValue: 'ID', min: 1 }),
    ...FLOW_FLAGS,
    all: Flags.boolean({ summary: 'Every flow there is.' }),
    'dry-run': Flags.boolean({ summary: 'End none, and say how many it would be.' }),
  };

  async run(): Promise<{ flows: number; ended: boolean }> {
    const { flags } = await this.parse(FlowsFlush);
    const validateOnly = flags['dry-run'];
    const conditions = { id: flags.id, ...flowConditions(flags) };
    if (!flags.all && Object.values(conditions).every((condition) => condition === undefined)) {
      throw wrongUsage('say which flows, such as by --tunnel, --site or --id; or --all for every flow');
    }
    const client = await this.connect(flags);
    const flows = await flushFlows(client, conditions, { all: flags.all, validateOnly });
    this.log(`${counted(flows, 'flow')} ${validateOnly ? 'would be ended' : 'ended'}.`);
    return { flows, ended: !validateOnly };
  }
}
