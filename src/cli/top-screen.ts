/**
 * What `top` shows: two samples of a gateway become lines of text. Pure; `commands/top.ts` takes the samples and owns
 * the terminal.
 */

import type { FlowBody } from '../api/schemas/flows.ts';
import type { StatusBody } from '../api/schemas/gateway.ts';
import { endText } from './flow-text.ts';
import { dropped } from './port-cells.ts';
import { shortNumber, table } from './table.ts';
import { paint, paintState, visibleWidth } from './terminal.ts';

/** The gateway at one moment. */
export interface Sample {
  /** `performance.now()`. */
  readonly atMs: number;
  readonly status: StatusBody;
  /** Those with the most bytes. */
  readonly flows: readonly FlowBody[];
}

export interface ScreenSize {
  readonly columns: number;
  readonly rows: number;
}

/** Per second. */
interface PortRates {
  readonly name: string;
  readonly site: string;
  readonly state: string;
  readonly flows: number;
  readonly bitsIn: number;
  readonly bitsOut: number;
  readonly packetsIn: number;
  readonly packetsOut: number;
  readonly drops: number;
}

interface FlowRates {
  readonly flow: FlowBody;
  readonly bitsThere: number;
  readonly bitsBack: number;
}

/** Lines that fill the screen at most; the last line is for the caller. */
export function topLines(before: Sample | undefined, now: Sample, size: ScreenSize): string[] {
  const ports = portRates(before, now);
  const flows = flowRates(before, now);
  const { status } = now;
  const { current, max } = status.flows ?? { current: 0, max: 0 };
  const total = (field: 'bitsIn' | 'packetsIn'): string =>
    shortNumber(ports.reduce((sum, port) => sum + port[field], 0));
  const head = [
    `${paint('bold', status.gateway)}  ${paintState(status.dataPlane.state)}  flows ${current} of ${max}` +
      `  in ${total('bitsIn')}bit/s ${total('packetsIn')}pkt/s`,
    ...status.problems.slice(0, 3).map((problem) => paint('red', problem)),
    '',
  ];
  // The tunnels have at most half of what is left: flows have the rest.
  const left = Math.max(0, size.rows - head.length - 1);
  const portLines = portTable(ports).split('\n');
  const portRoom = flows.length === 0 ? left : Math.max(Math.floor(left / 2), left - flows.length - 2);
  const shownPorts = shortened(portLines, portRoom);
  const flowRoom = left - shownPorts.length - 1;
  const flowLines =
    flows.length === 0 || flowRoom < 2 ? [] : ['', ...flowTable(flows).split('\n').slice(0, flowRoom)];
  return [...head, ...shownPorts, ...flowLines].map((line) => cut(line, size.columns));
}

function portTable(ports: readonly PortRates[]): string {
  const rows = ports.map((port) => [
    port.name,
    port.site,
    paintState(port.state),
    String(port.flows),
    `${shortNumber(port.bitsIn)}bit`,
    `${shortNumber(port.bitsOut)}bit`,
    shortNumber(port.packetsIn),
    shortNumber(port.packetsOut),
    port.drops === 0 ? '0' : paint('yellow', shortNumber(port.drops)),
  ]);
  const head = ['TUNNEL', 'SITE', 'STATE', 'FLOWS', 'IN/s', 'OUT/s', 'PKT IN/s', 'PKT OUT/s', 'DROPS/s'];
  return table([head, ...rows]);
}

function flowTable(flows: readonly FlowRates[]): string {
  const rows = flows.map(({ flow, bitsThere, bitsBack }) => [
    String(flow.id),
    flow.site,
    flow.protocol,
    endText(flow.protocol, flow.original.source, flow.original.sourcePort),
    endText(flow.protocol, flow.original.destination, flow.original.destinationPort),
    flow.pin,
    `${shortNumber(bitsThere)}bit`,
    `${shortNumber(bitsBack)}bit`,
  ]);
  return table([['FLOW', 'SITE', 'PROTO', 'FROM', 'TO', 'PIN', 'THERE/s', 'BACK/s'], ...rows]);
}

function portRates(before: Sample | undefined, now: Sample): PortRates[] {
  const seconds = elapsedSeconds(before, now);
  const former = new Map(
    [...(before?.status.tunnels ?? []), ...(before?.status.egresses ?? [])].map((port) => [port.name, port]),
  );
  const rates = (port: StatusBody['egresses'][number], site: string): PortRates => {
    const known = former.get(port.name);
    // Counters that went back are another port's, or another flow memory's.
    const rate = (value: number, formerly: number | undefined): number =>
      formerly === undefined || value < formerly ? 0 : (value - formerly) / seconds;
    return {
      name: port.name,
      site,
      state: port.state,
      flows: port.flows,
      bitsIn: rate(port.rxBytes, known?.rxBytes) * 8,
      bitsOut: rate(port.txBytes, known?.txBytes) * 8,
      packetsIn: rate(port.rxPackets, known?.rxPackets),
      packetsOut: rate(port.txPackets, known?.txPackets),
      drops: rate(dropped(port), known === undefined ? undefined : dropped(known)),
    };
  };
  const all = [
    ...now.status.tunnels.map((tunnel) => rates(tunnel, tunnel.site)),
    ...now.status.egresses.map((egress) => rates(egress, '-')),
  ];
  // The busiest first; without traffic, as configured.
  return all.sort((one, other) => other.bitsIn + other.bitsOut - (one.bitsIn + one.bitsOut));
}

function flowRates(before: Sample | undefined, now: Sample): FlowRates[] {
  const seconds = elapsedSeconds(before, now);
  const former = new Map(before?.flows.map((flow) => [flow.id, flow]));
  const rates = now.flows.map((flow) => {
    const known = former.get(flow.id);
    const there = flow.originator.bytes - (known?.originator.bytes ?? flow.originator.bytes);
    const back = flow.reply.bytes - (known?.reply.bytes ?? flow.reply.bytes);
    return { flow, bitsThere: (there * 8) / seconds, bitsBack: (back * 8) / seconds };
  });
  return rates.sort(
    (one, other) =>
      other.bitsThere + other.bitsBack - (one.bitsThere + one.bitsBack) ||
      bytesOf(other.flow) - bytesOf(one.flow),
  );
}

function bytesOf({ originator, reply }: FlowBody): number {
  return originator.bytes + reply.bytes;
}

function elapsedSeconds(before: Sample | undefined, now: Sample): number {
  return before === undefined ? 1 : Math.max(0.001, (now.atMs - before.atMs) / 1000);
}

/** The first lines, and how many there are more. */
function shortened(lines: readonly string[], room: number): readonly string[] {
  if (lines.length <= room) return lines;
  if (room < 2) return lines.slice(0, Math.max(0, room));
  return [...lines.slice(0, room - 1), `... ${lines.length - room + 1} more`];
}

/** At most so many columns; colours are dropped from a line that is too long. */
function cut(line: string, columns: number): string {
  if (visibleWidth(line) <= columns) return line;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours are control characters
  return line.replaceAll(/\u001b\[[0-9;]*m/g, '').slice(0, columns);
}
