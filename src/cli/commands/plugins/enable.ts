import { Args } from '@oclif/core';
import { switchPlugin } from '../../../api/client/plugins.ts';
import type { AppliedBody } from '../../../api/schemas/config.ts';
import { HomewardCommand } from '../../command.ts';
import { CHANGE_FLAGS, changeMembers, describeApplied } from '../../config-change.ts';
import { CONNECTION_FLAGS } from '../../connection.ts';

export default class PluginsEnable extends HomewardCommand {
  static override summary = 'Enable a plugin of the configuration.';
  static override description =
    `New flows run through it from now on. Live ones keep their verdict, unless --reevaluate has them judged anew. One that
was tripped is called again.`;
  static override examples = ['<%= config.bin %> plugins enable firewall --reevaluate'];
  static override args = { plugin: Args.string({ required: true, description: 'Its name.' }) };
  static override flags = { ...CONNECTION_FLAGS, ...CHANGE_FLAGS };

  async run(): Promise<AppliedBody> {
    const { args, flags } = await this.parse(PluginsEnable);
    const client = await this.connect(flags);
    const applied = await switchPlugin(client, args.plugin, 'enable', changeMembers(flags), flags['dry-run']);
    for (const line of describeApplied(applied)) this.log(line);
    return applied;
  }
}
