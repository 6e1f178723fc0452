import { listSites } from '../../../api/client/overview.ts';
import type { SiteListBody } from '../../../api/schemas/overview.ts';
import { HomewardCommand } from '../../command.ts';
import { CONNECTION_FLAGS } from '../../connection.ts';
import { table } from '../../table.ts';
import { paintState } from '../../terminal.ts';

export default class SitesList extends HomewardCommand {
  static override summary = 'List the sites with their prefixes and tunnels.';
  static override examples = ['<%= config.bin %> sites list'];
  static override flags = CONNECTION_FLAGS;

  async run(): Promise<SiteListBody> {
    const { flags } = await this.parse(SitesList);
    const sites = await listSites(await this.connect(flags));
    const rows = sites.map(({ name, state, flows, prefixes, tunnels }) => [
      name,
      paintState(state),
      String(flows),
      prefixes.join(' ') || '-',
      tunnels.join(' '),
    ]);
    this.log(table([['SITE', 'STATE', 'FLOWS', 'PREFIXES', 'TUNNELS'], ...rows]));
    return { sites };
  }
}
