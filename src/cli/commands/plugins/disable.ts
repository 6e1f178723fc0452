import { Args } from '@oclif/core';
import { switchPlugin } from '../../../api/client/plugins.ts';
import type { AppliedBody } from '../../../api/schemas/config.ts';
import { HomewardCommand } from '../../command.ts';
import { CHANGE_FLAGS, changeMembers, describeApplied } from '../../config-change.ts';
import { CONNECTION_FLAGS } from '../../connection.ts';

export default class PluginsDisable extends HomewardCommand {
  static override summary = 'Disable a plugin, and keep it in the configuration.';
  static override description =
    'No flow runs through it until it is enabled again: what it would have refused passes. Live flows go on without it.';
  static override examples = ['<%= config.bin %> plugins disable firewall --confirm 10m'];
  static override args = { plugin: Args.string({ required: true, description: 'Its name.' }) };
  static override flags = { ...CONNECTION_FLAGS, ...CHANGE_FLAGS };

  async run(): Promise<AppliedBody> {
    const { args, flags } = await this.parse(PluginsDisable);
    const client = await this.connect(flags);
    const members = changeMembers(flags);
    const applied = await switchPlugin(client, args.plugin, 'disable', members, flags['dry-run']);
    for (const line of describeApplied(applied)) this.log(line);
    return applied;
  }
}
