import { listTunnels } from '../../../api/client/overview.ts';
import type { TunnelBody } from '../../../api/schemas/gateway.ts';
import { HomewardCommand } from '../../command.ts';
import { CONNECTION_FLAGS } from '../../connection.ts';
import { COLUMNS_OF_COUNTERS, portCells, reasonTables } from '../../port-cells.ts';
import { table } from '../../table.ts';

const HEADER = ['TUNNEL', 'SITE', 'TYPE', 'PRIORITY', 'DEVICE', 'MTU'];

export default class TunnelsList extends HomewardCommand {
  static override summary = 'List the tunnels with their state and counters.';
  static override description = COLUMNS_OF_COUNTERS;
  static override examples = ['<%= config.bin %> tunnels list', '<%= config.bin %> tunnels list --json'];
  static override flags = CONNECTION_FLAGS;

  async run(): Promise<{ tunnels: TunnelBody[] }> {
    const { flags } = await this.parse(TunnelsList);
    const tunnels = await listTunnels(await this.connect(flags));
    const rows = tunnels.map((tunnel) => [
      tunnel.name,
      tunnel.site,
      tunnel.type,
      String(tunnel.priority),
      tunnel.device || '-',
      String(tunnel.mtu),
      ...portCells(tunnel),
    ]);
    const list = table([[...HEADER, 'STATE', 'FLOWS', 'IN', 'OUT', 'DROPPED'], ...rows]);
    this.log([list, ...reasonTables(tunnels)].join('\n\n'));
    return { tunnels };
  }
}
