import { listPlugins } from '../../../api/client/plugins.ts';
import type { PluginListBody } from '../../../api/schemas/plugins.ts';
import { HomewardCommand } from '../../command.ts';
import { CONNECTION_FLAGS } from '../../connection.ts';
import { table } from '../../table.ts';
import { paintState } from '../../terminal.ts';

export default class PluginsList extends HomewardCommand {
  static override summary = 'List the plugins in the order in which they run.';
  static override examples = ['<%= config.bin %> plugins list'];
  static override flags = CONNECTION_FLAGS;

  async run(): Promise<PluginListBody> {
    const { flags } = await this.parse(PluginsList);
    const plugins = await listPlugins(await this.connect(flags));
    const rows = plugins.map(({ position, name, version, phase, state, failures }) => [
      String(position),
      name,
      version,
      phase,
      paintState(state),
      String(failures),
    ]);
    this.log(table([['ORDER', 'PLUGIN', 'VERSION', 'PHASE', 'STATE', 'FAILURES'], ...rows]));
    return { plugins };
  }
}
