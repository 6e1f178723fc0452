/**
 * What a change of the configuration means for a gateway that runs: what cannot be changed at all while it runs, and
 * which flows end.
 *
 * | option | changed while it runs |
 * | --- | --- |
 * | `api.socket`, `api.listen`, `gateway.state_dir` | refused: who is connected would be cut off, or the history left behind |
 * | `flow_table.max_flows` | another data plane takes the flows over: nothing is forwarded for some tenths of a second |
 * | everything else | at once, between two bursts |
 *
 * Neighbours: `gateway.ts` (the caller), `pipeline/assembly.ts` (where flows end), `config/diff.ts` (what changed in
 * the configuration itself).
 */
import type { Plan, PlanEgressPort, PlanPort } from '../pipeline/plan.ts';
import type { Config, ConfigPath } from './config/config.ts';
import { Findings } from './config/findings.ts';

/** What happens to flows of one tunnel or egress. */
export interface FlowEffect {
  readonly port: string;
  /**
   * `end`: all of them end. `some_end`: those that `why` names do. `stop`: no packet of them passes until the tunnel is
   * back, or their originators go on by another tunnel of the site.
   */
  readonly flows: 'end' | 'some_end' | 'stop';
  /** A clause for people. */
  readonly why: string;
}

/** What judging all live flows anew has led to. */
export interface Reevaluation {
  readonly flows: number;
  /** How many of them were refused, and ended. */
  readonly ended: number;
}

export interface PlanEffect {
  readonly flows: readonly FlowEffect[];
  /** Nothing is forwarded while another data plane takes the flows over. */
  readonly restartsDataPlane: boolean;
}

/** @throws ConfigError that names every option which cannot be changed while the gateway runs. */
export function checkLiveChange(former: Config, next: Config): void {
  const findings = new Findings(next.source);
  const refuse = (path: ConfigPath, before: unknown, after: unknown): void => {
    if (JSON.stringify(before) === JSON.stringify(after)) return;
    findings.problem(
      path,
      'cannot be changed while homeward runs; leave it as it was, or write it to the file and start homeward again',
    );
  };
  refuse(['gateway', 'state_dir'], former.gateway.stateDir, next.gateway.stateDir);
  const { socket: formerSocket, ...formerApi } = former.api;
  const { socket: nextSocket, ...nextApi } = next.api;
  refuse(['api', 'socket'], formerSocket, nextSocket);
  refuse(['api', 'listen'], formerApi, nextApi);
  findings.throwIfAny();
}

/** What taking `after` does to the flows of `before`; undefined before the first plan. */
export function planEffect(before: Plan | undefined, after: Plan): PlanEffect {
  if (before === undefined) return { flows: [], restartsDataPlane: false };
  const ports = new Map(after.ports.map((port) => [port.name, port]));
  const spaces = new Set(after.spaces.map(({ id }) => id));
  return {
    flows: before.ports.flatMap((port) => portEffects(port, ports.get(port.name), spaces)),
    restartsDataPlane: before.flowTable.maxFlows !== after.flowTable.maxFlows,
  };
}

function portEffects(port: PlanPort, next: PlanPort | undefined, spaces: ReadonlySet<number>): FlowEffect[] {
  const effect = (flows: FlowEffect['flows'], why: string): FlowEffect => ({ port: port.name, flows, why });
  if (next === undefined) {
    const alone = port.role === 'egress' || !spaces.has(port.space);
    return [alone ? effect('end', 'it is removed') : effect('stop', 'it is removed')];
  }
  if (next.index !== port.index || next.generation !== port.generation) {
    return [effect('end', 'its site, its type or its endpoints change')];
  }
  if (next.space !== port.space) return [effect('end', 'another tunnel leaves its site for another one')];
  if (port.role === 'egress' && next.role === 'egress') {
    return egressLosses(port, next).map((why) => effect('some_end', why));
  }
  return port.enabled && !next.enabled ? [effect('stop', 'it is disabled')] : [];
}

function egressLosses(before: PlanEgressPort, after: PlanEgressPort): string[] {
  const pools = new Set(after.pools.map(({ address }) => address));
  const forwards = new Set(after.portForwards.map((forward) => JSON.stringify(forward)));
  return [
    ...before.pools.flatMap(({ address }) =>
      pools.has(address) ? [] : [`those translated to ${address}, which is not its address any more`],
    ),
    ...before.portForwards.flatMap((forward) =>
      forwards.has(JSON.stringify(forward))
        ? []
        : [`those of the port forward ${forward.protocol} ${forward.port}, which is removed or changed`],
    ),
  ];
}
