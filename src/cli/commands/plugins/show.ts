import { Args } from '@oclif/core';
import { showPlugin } from '../../../api/client/overview.ts';
import type { PluginDetailsBody } from '../../../api/schemas/overview.ts';
import { HomewardCommand } from '../../command.ts';
import { CONNECTION_FLAGS } from '../../connection.ts';
import { table } from '../../table.ts';
import { paintState } from '../../terminal.ts';

export default class PluginsShow extends HomewardCommand {
  static override summary = 'Show one plugin with its counters.';
  static override examples = ['<%= config.bin %> plugins show return-routing'];
  static override args = { plugin: Args.string({ required: true, description: 'Its name.' }) };
  static override flags = CONNECTION_FLAGS;

  async run(): Promise<PluginDetailsBody> {
    const { args, flags } = await this.parse(PluginsShow);
    const plugin = await showPlugin(await this.connect(flags), args.plugin);
    this.log(
      table([
        ['plugin', `${plugin.name} ${plugin.version}`],
        ['state', paintState(plugin.state)],
        ['runs', `in the ${plugin.phase} phase, at position ${plugin.position}`],
        ['hooks', plugin.hooks.join(', ')],
        ['when it fails', plugin.failurePolicy === 'open' ? 'packets pass' : 'packets are dropped'],
        ['failures', String(plugin.failures)],
        ...Object.entries(plugin.counters).map(([name, count]) => [name, String(count)]),
      ]),
    );
    return plugin;
  }
}
