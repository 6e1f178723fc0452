import type { StatusBody } from '../../api/schemas/gateway.ts';
import { HomewardCommand } from '../command.ts';
import { CONNECTION_FLAGS } from '../connection.ts';
import { durationText } from '../duration.ts';
import { COLUMNS_OF_COUNTERS, portCells, reasonTables } from '../port-cells.ts';
import { table } from '../table.ts';
import { paint, paintState } from '../terminal.ts';

const UNFIT = 'What is not as the configuration has it:';

export default class Status extends HomewardCommand {
  static override summary = 'Show the state of the running gateway and its tunnels.';
  static override description = COLUMNS_OF_COUNTERS;
  static override examples = ['<%= config.bin %> status', '<%= config.bin %> status --json'];
  static override flags = CONNECTION_FLAGS;

  async run(): Promise<StatusBody> {
    const { flags } = await this.parse(Status);
    const client = await this.connect(flags);
    const status = await client.status();
    this.log(describe(status));
    return status;
  }
}

/** The status for people. */
function describe(status: StatusBody): string {
  const { gateway, version, pid, uptimeMs, dataPlane, flows, tunnels, egresses, problems, notices } = status;
  const head = table([
    ['gateway', `${gateway} (homeward ${version}, pid ${pid}, up ${durationText(uptimeMs)})`],
    ['data plane', `${paintState(dataPlane.state)} (${dataPlaneText(dataPlane, version)})`],
    ['flows', flows === null ? 'unknown' : `${flows.current} of ${flows.max}`],
  ]);
  const rows = [
    ...tunnels.map((tunnel) => [tunnel.name, tunnel.type, tunnel.site, ...portCells(tunnel)]),
    ...egresses.map((egress) => [egress.name, 'egress', '-', ...portCells(egress)]),
  ];
  const header = ['PORT', 'TYPE', 'SITE', 'STATE', 'FLOWS', 'IN', 'OUT', 'DROPPED'];
  const ports = rows.length > 0 ? [table([header, ...rows])] : [];
  const drops = [...tunnels, ...egresses].flatMap(dropRows);
  const dropped = drops.length > 0 ? [table([['DROPPED AT', 'REASON', 'PACKETS'], ...drops])] : [];
  const reasons = reasonTables([...tunnels, ...egresses], problems);
  const wrong = problems.length > 0 ? [[paint('red', UNFIT), ...problems].join('\n')] : [];
  const notes = notices.length > 0 ? [['Notices:', ...notices].join('\n')] : [];
  return [head, ...ports, ...dropped, ...reasons, ...wrong, ...notes].join('\n\n');
}

function dataPlaneText(
  { version, pid, uptimeMs, restarts }: StatusBody['dataPlane'],
  ofControl: string,
): string {
  return [
    // The same one goes without saying.
    ...(version === null || version === ofControl ? [] : [`homeward ${version}`]),
    `pid ${pid ?? '-'}`,
    ...(uptimeMs === null ? [] : [`up ${durationText(uptimeMs)}`]),
    `restarts ${restarts}`,
  ].join(', ');
}

/** One row for each reason, most packets first. */
function dropRows({ name, drops }: StatusBody['egresses'][number]): string[][] {
  return Object.entries(drops)
    .sort(([, one], [, other]) => other - one)
    .map(([reason, count]) => [name, reason, String(count)]);
}
