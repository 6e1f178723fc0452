import { Args } from '@oclif/core';
import { switchTunnel } from '../../../api/client/tunnel-changes.ts';
import type { AppliedBody } from '../../../api/schemas/config.ts';
import { HomewardCommand } from '../../command.ts';
import { CHANGE_FLAGS, changeMembers, describeApplied } from '../../config-change.ts';
import { CONNECTION_FLAGS } from '../../connection.ts';

export default class TunnelsEnable extends HomewardCommand {
  static override summary = 'Enable a tunnel.';
  static override description = `Its flows go on.`;
  static override examples = ['<%= config.bin %> tunnels enable paris-gre'];
  static override args = { tunnel: Args.string({ required: true, description: 'Its name.' }) };
  static override flags = { ...CONNECTION_FLAGS, ...CHANGE_FLAGS };

  async run(): Promise<AppliedBody> {
    const { args, flags } = await this.parse(TunnelsEnable);
    const client = await this.connect(flags);
    const applied = await switchTunnel(client, args.tunnel, 'enable', changeMembers(flags), flags['dry-run']);
    for (const line of describeApplied(applied)) this.log(line);
    return applied;
  }
}
