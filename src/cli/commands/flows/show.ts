import { Args } from '@oclif/core';
import { showFlow } from '../../../api/client/flows.ts';
import type { FlowBody } from '../../../api/schemas/flows.ts';
import { HomewardCommand } from '../../command.ts';
import { CONNECTION_FLAGS } from '../../connection.ts';
import { flowText } from '../../flow-text.ts';

export default class FlowsShow extends HomewardCommand {
  static override summary = 'Show everything about one flow.';
  static override examples = ['<%= config.bin %> flows show 4711'];
  static override args = {
    id: Args.integer({ required: true, min: 1, description: 'As `flows list` shows it.' }),
  };
  static override flags = CONNECTION_FLAGS;

  async run(): Promise<FlowBody> {
    const { args, flags } = await this.parse(FlowsShow);
    const flow = await showFlow(await this.connect(flags), args.id);
    this.log(flowText(flow));
    return flow;
  }
}
