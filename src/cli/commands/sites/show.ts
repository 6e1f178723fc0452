import { Args } from '@oclif/core';
import { showSite } from '../../../api/client/overview.ts';
import type { SiteDetailsBody } from '../../../api/schemas/overview.ts';
import { HomewardCommand } from '../../command.ts';
import { CONNECTION_FLAGS } from '../../connection.ts';
import { portCells } from '../../port-cells.ts';
import { table } from '../../table.ts';
import { paintState } from '../../terminal.ts';

export default class SitesShow extends HomewardCommand {
  static override summary = 'Show one site with its tunnels and the routes that lead there.';
  static override examples = ['<%= config.bin %> sites show paris'];
  static override args = { site: Args.string({ required: true, description: 'Its name.' }) };
  static override flags = CONNECTION_FLAGS;

  async run(): Promise<SiteDetailsBody> {
    const { args, flags } = await this.parse(SitesShow);
    const site = await showSite(await this.connect(flags), args.site);
    const head = table([
      ['site', site.name],
      ['state', paintState(site.state)],
      ['prefixes', site.prefixes.join(', ') || 'none: it can only begin flows'],
      ...site.routes.map(({ prefix, priority }, at) => [
        at === 0 ? 'routes' : '',
        `${prefix}, priority ${priority}`,
      ]),
    ]);
    const rows = site.tunnels.map((tunnel) => [
      tunnel.name,
      tunnel.type,
      String(tunnel.priority),
      ...portCells(tunnel),
    ]);
    const header = ['TUNNEL', 'TYPE', 'PRIORITY', 'STATE', 'FLOWS', 'IN', 'OUT', 'DROPPED'];
    this.log(`${head}\n\n${table([header, ...rows])}`);
    return site;
  }
}
