import { listRoutes } from '../../../api/client/explain.ts';
import type { RouteListBody } from '../../../api/schemas/explain.ts';
import { HomewardCommand } from '../../command.ts';
import { CONNECTION_FLAGS } from '../../connection.ts';
import { table } from '../../table.ts';
import { paint } from '../../terminal.ts';

export default class RoutesList extends HomewardCommand {
  static override summary = "List the routing table: the sites' own prefixes and the configured routes.";
  static override description =
    `Routes say where new flows go; replies follow the pin of their flow. An ambiguous entry is one
that several sites declare: new flows towards it are dropped, unless a route names one of them.`;
  static override examples = ['<%= config.bin %> routes list', '<%= config.bin %> routes list --json'];
  static override flags = CONNECTION_FLAGS;

  async run(): Promise<RouteListBody> {
    const { flags } = await this.parse(RoutesList);
    const routes = await listRoutes(await this.connect(flags));
    const rows = routes.map(({ prefix, via, kind, priority, ports, state }) => [
      prefix,
      via,
      kind,
      priority === null ? '-' : String(priority),
      state === 'active' ? state : paint('yellow', state),
      ports.join(', ') || '-',
    ]);
    this.log(table([['PREFIX', 'VIA', 'KIND', 'PRIORITY', 'STATE', 'BY'], ...rows]));
    return { routes };
  }
}
