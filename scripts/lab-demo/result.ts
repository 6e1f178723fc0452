/** What the demo shows: a row for each flow, from what clients got and what the captures saw. */
import { describeLeaks, type Experiment } from '../../test/support/lab/experiment.ts';
import type { Leak } from '../../test/support/lab/leak-check.ts';
import { observedPaths } from '../../test/support/lab/paths.ts';
import { isComplete, type Outcome } from '../../test/support/lab/traffic.ts';

export interface DemoRow {
  readonly site: string;
  readonly destination: string;
  readonly protocol: string;
  readonly family: 4 | 6;
  /** What the site sent: the same for both sites. */
  readonly flow: string;
  /** Tunnels by which packets of the flow came to the gateway, from captured frames. */
  readonly tunnelIn: string;
  /** Tunnels by which the replies left the gateway, from captured frames. */
  readonly tunnelReply: string;
  readonly sent: number;
  readonly answered: number;
  readonly ok: boolean;
  readonly result: string;
}

/** A rule that one site's flow meets and the same flow of another site does not. */
export interface RuledFlows {
  readonly rule: { readonly name: string; readonly match: string; readonly action: string };
  /** Whose flow it refuses. */
  readonly site: string;
  readonly outcomes: readonly Outcome[];
}

export interface RuledRow {
  readonly site: string;
  readonly flow: string;
  readonly sent: number;
  readonly answered: number;
  readonly ok: boolean;
}

export interface DemoResult {
  readonly ok: boolean;
  readonly flows: readonly DemoRow[];
  readonly firewall: { readonly rule: RuledFlows['rule']; readonly flows: readonly RuledRow[] };
  readonly framesChecked: number;
  readonly leaks: readonly Leak[];
}

export async function demoResult(
  experiment: Experiment,
  outcomes: readonly Outcome[],
  ruled: RuledFlows,
): Promise<DemoResult> {
  const paths = await observedPaths(experiment);
  const { leaks, delivered } = await experiment.report();
  const flows = outcomes.map((outcome): DemoRow => {
    const { flow, sent, received } = outcome;
    const path = paths.get(flow.token);
    const tunnelIn = path?.arrivals.join('+') || 'none';
    const tunnelReply = path?.replies.join('+') || 'none';
    const isOwn = tunnelIn === experiment.network.tunnelName(flow.from) && tunnelReply === tunnelIn;
    const ok = isOwn && isComplete(outcome);
    return {
      site: flow.from,
      destination: flow.to,
      protocol: flow.kind,
      family: flow.family,
      flow: describeFlow(flow),
      tunnelIn,
      tunnelReply,
      sent,
      answered: received,
      ok,
      result: ok ? `ok, ${received} of ${sent} answered` : `WRONG, ${received} of ${sent} answered`,
    };
  });
  const ruledRows = ruled.outcomes.map((outcome): RuledRow => {
    const { flow, sent, received } = outcome;
    const ok = flow.from === ruled.site ? received === 0 : isComplete(outcome);
    return { site: flow.from, flow: describeFlow(flow), sent, answered: received, ok };
  });
  return {
    ok: flows.length > 0 && [...flows, ...ruledRows].every((row) => row.ok) && leaks.length === 0,
    flows,
    firewall: { rule: ruled.rule, flows: ruledRows },
    framesChecked: Object.values(delivered).reduce((sum, { frames }) => sum + frames, 0),
    leaks,
  };
}

/** The result for people. */
export function describeResult({ flows, firewall, framesChecked, leaks }: DemoResult): string {
  const header = ['SITE', 'FLOW', 'TUNNEL IN', 'REPLY BY', 'RESULT'];
  const rows = flows.map(({ site, flow, tunnelIn, tunnelReply, result }) => [
    site,
    flow,
    tunnelIn,
    tunnelReply,
    result,
  ]);
  const verdict =
    leaks.length === 0
      ? `${framesChecked} frames were delivered to the hosts; each is explained by its receiver's own traffic.`
      : `LEAKS:\n${describeLeaks(leaks)}`;
  return `${columns([header, ...rows])}\n\n${describeRuled(firewall)}\n\n${verdict}`;
}

function describeRuled({ rule, flows }: DemoResult['firewall']): string {
  const rows = flows.map(({ site, flow, sent, answered, ok }) => [
    site,
    flow,
    `${ok ? 'ok' : 'WRONG'}, ${answered === 0 ? 'refused' : `${answered} of ${sent} answered`}`,
  ]);
  return `The firewall has a rule for one site: ${rule.match}: ${rule.action}.\n\n${columns([['SITE', 'FLOW', 'RESULT'], ...rows])}`;
}

function describeFlow({ kind, source, sourcePort, destination, destinationPort }: Outcome['flow']): string {
  if (kind === 'icmp') return `icmp ${source} > ${destination} id ${sourcePort}`;
  return `${kind} ${withPort(source, sourcePort)} > ${withPort(destination, destinationPort ?? 0)}`;
}

function withPort(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

function columns(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
