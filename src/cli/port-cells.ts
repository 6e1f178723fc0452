/** A port's state and counters as cells of a table. */
import { shortNumber, table } from './table.ts';
import { paintState } from './terminal.ts';

export interface Counted {
  readonly state: string;
  readonly flows: number;
  readonly rxPackets: number;
  readonly rxBytes: number;
  readonly txPackets: number;
  readonly txBytes: number;
  readonly drops: Readonly<Record<string, number>>;
}

/** For `--help`: what the columns of {@link portCells} count. */
export const COLUMNS_OF_COUNTERS = `FLOWS are live flows that came in there, not those that leave by it; IN, OUT and DROPPED are packets since the
last boot or "homeward down", or since the tunnel became another one. "flows list --tunnel NAME" lists the flows of both kinds.`;

/** Dropped packets of all reasons. */
export function dropped(port: Counted): number {
  return Object.values(port.drops).reduce((sum, count) => sum + count, 0);
}

/** State, flows, packets in and out, packets dropped. */
export function portCells(port: Counted): string[] {
  const counts = [port.flows, port.rxPackets, port.txPackets, dropped(port)];
  return [paintState(port.state), ...counts.map(String)];
}

interface Conditioned {
  readonly name: string;
  readonly state: string;
  readonly since: string;
  readonly reason: string | null;
}

/**
 * Why ports are not up, as a table; none if there is nothing to explain.
 *
 * @param problems lines of the status that say it already
 */
export function reasonTables(ports: readonly Conditioned[], problems: readonly string[] = []): string[] {
  const rows = ports.flatMap(({ name, state, since, reason }) => {
    const place = new RegExp(`(?:\\.tunnels| egress)\\.${name.replaceAll('.', '\\.')}[.:]`);
    const told = problems.some((line) => place.test(line));
    return reason === null || told ? [] : [[name, paintState(state), since, reason]];
  });
  return rows.length > 0 ? [table([['PORT', 'STATE', 'SINCE', 'WHY'], ...rows])] : [];
}

/** Counters of one port, a line each. */
export function counterRows(port: Counted): string[][] {
  return [
    ['flows', String(port.flows)],
    ['in', `${port.rxPackets} packets, ${shortNumber(port.rxBytes)}B`],
    ['out', `${port.txPackets} packets, ${shortNumber(port.txBytes)}B`],
    ...Object.entries(port.drops)
      .sort(([, one], [, other]) => other - one)
      .map(([reason, count], at) => [at === 0 ? 'dropped' : '', `${count} ${reason}`]),
  ];
}
