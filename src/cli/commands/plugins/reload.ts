import { Args } from '@oclif/core';
import { reloadPlugin } from '../../../api/client/plugins.ts';
import type { AppliedBody } from '../../../api/schemas/config.ts';
import { HomewardCommand } from '../../command.ts';
import { CHANGE_FLAGS, describeReevaluation } from '../../config-change.ts';
import { CONNECTION_FLAGS } from '../../connection.ts';

export default class PluginsReload extends HomewardCommand {
  static override summary = "Read a plugin's files anew, without a restart.";
  static override description =
    `Its manifest, its code, and the files that its options name. Whole or not at all: if anything is wrong with them, the
plugin runs on as it is. No packet is judged by half of the old and half of the new. Live flows keep their verdict, unless
--reevaluate has them judged anew. A plugin that was tripped is called again.`;
  static override examples = [
    '<%= config.bin %> plugins reload firewall',
    '<%= config.bin %> plugins reload limiter --dry-run',
  ];
  static override args = { plugin: Args.string({ required: true, description: 'Its name.' }) };
  static override flags = {
    ...CONNECTION_FLAGS,
    reevaluate: CHANGE_FLAGS.reevaluate,
    'dry-run': CHANGE_FLAGS['dry-run'],
  };

  async run(): Promise<AppliedBody> {
    const { args, flags } = await this.parse(PluginsReload);
    const client = await this.connect(flags);
    const applied = await reloadPlugin(client, args.plugin, flags.reevaluate, flags['dry-run']);
    for (const notice of applied.notices) this.log(notice);
    if (!applied.applied) this.log(`${args.plugin} can be read anew. Nothing was changed.`);
    else this.log(`${args.plugin} runs as its files are now.`);
    for (const line of describeReevaluation(applied.reevaluated)) this.log(line);
    return applied;
  }
}
