import { Args } from '@oclif/core';
import { switchTunnel } from '../../../api/client/tunnel-changes.ts';
import type { AppliedBody } from '../../../api/schemas/config.ts';
import { HomewardCommand } from '../../command.ts';
import { CHANGE_FLAGS, changeMembers, describeApplied } from '../../config-change.ts';
import { CONNECTION_FLAGS } from '../../connection.ts';

export default class TunnelsDisable extends HomewardCommand {
  static override summary = 'Disable a tunnel, and keep it in the configuration.';
  static override description =
    `It carries nothing until it is enabled again. Flows that are pinned to it wait, and end by their time-outs; new flows
towards the site take its other tunnels.`;
  static override examples = ['<%= config.bin %> tunnels disable paris-gre'];
  static override args = { tunnel: Args.string({ required: true, description: 'Its name.' }) };
  static override flags = { ...CONNECTION_FLAGS, ...CHANGE_FLAGS };

  async run(): Promise<AppliedBody> {
    const { args, flags } = await this.parse(TunnelsDisable);
    const client = await this.connect(flags);
    const applied = await switchTunnel(
      client,
      args.tunnel,
      'disable',
      changeMembers(flags),
      flags['dry-run'],
    );
    for (const line of describeApplied(applied)) this.log(line);
    return applied;
  }
}
