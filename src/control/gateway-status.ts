/** What control knows of the gateway, as the API gives it (`api/schemas/gateway.ts` checks the same shape). */
import type { DataPlaneStatus, PortStatus } from '../dataplane/messages.ts';
import type { Plan, PlanPort } from '../pipeline/plan.ts';
import type { IpsecTunnelStatus } from '../tunnel/ipsec/tunnel-state.ts';
import type { TunnelDriver } from './compile/tunnels.ts';
import type { Config } from './config/config.ts';
import type { TunnelHealthStatus } from './health/tunnel-health.ts';
import type { TunnelLack } from './host-report.ts';
import type { DataPlaneReport } from './runtime/supervisor.ts';

/** Packets and bytes (of IP) since the flow memory was made. */
export interface PortCounters {
  /** Flows whose originator's packets come in by this port. */
  readonly flows: number;
  readonly rxPackets: number;
  readonly rxBytes: number;
  readonly txPackets: number;
  readonly txBytes: number;
  /** Dropped packets by reason; reasons that never happened are left out. */
  readonly drops: Readonly<Record<string, number>>;
}

/**
 * `unknown`: no data plane could be asked. `configured`, `connecting`: of tunnels that have to be agreed on with the peer,
 * before the first time that they are up.
 */
export type PortState = 'configured' | 'connecting' | 'up' | 'degraded' | 'down' | 'disabled' | 'unknown';

export interface TunnelStatus extends PortCounters {
  readonly name: string;
  readonly site: string;
  readonly type: 'gre' | 'interconnect' | 'device' | 'ipsec';
  readonly state: PortState;
  readonly priority: number;
  readonly mtu: number;
  readonly device: string;
  /** What does its work, and why that; null: there is no choice. */
  readonly driver: TunnelDriver | null;
  /** Why it is in this state, where that is known. */
  readonly reason: string | null;
  /** Since when it is in this state, as ISO 8601; null where nobody keeps it. */
  readonly since: string | null;
  /** What its health checks say; null: it is not checked. */
  readonly health: TunnelHealthStatus | null;
}

export interface EgressStatus extends PortCounters {
  readonly name: string;
  readonly state: PortState;
  readonly mtu: number;
  readonly device: string;
}

export interface GatewayStatus {
  readonly gateway: string;
  /** Of control. */
  readonly version: string;
  /** Of control. */
  readonly pid: number;
  /** Of control, milliseconds. */
  readonly uptimeMs: number;
  readonly configPath: string;
  readonly planGeneration: number;
  /** `version` and `uptimeMs` are its own; null: it could not be asked. */
  readonly dataPlane: DataPlaneReport & { readonly version: string | null; readonly uptimeMs: number | null };
  readonly tunnels: readonly TunnelStatus[];
  readonly egresses: readonly EgressStatus[];
  /** null: no data plane could be asked. */
  readonly flows: { readonly current: number; readonly max: number; readonly created: number } | null;
  readonly devices: DataPlaneStatus['devices'];
  readonly plugins: DataPlaneStatus['plugins'];
  /** What is not as the configuration has it: mostly what the host lacks, and so why ports are down. One line each. */
  readonly problems: readonly string[];
  /** What is legal but worth knowing about configuration and host. */
  readonly notices: readonly string[];
}

const NO_COUNTERS: PortCounters = {
  flows: 0,
  rxPackets: 0,
  rxBytes: 0,
  txPackets: 0,
  txBytes: 0,
  drops: {},
};

/** What others know of a tunnel. */
export interface TunnelDetailsOf {
  readonly health: (tunnel: string) => TunnelHealthStatus | null;
  readonly ipsec: (tunnel: string) => IpsecTunnelStatus | undefined;
  /** What the host lacks for it. */
  readonly lack: (tunnel: string) => TunnelLack | undefined;
}

/**
 * The ports of the plan with what the data plane says of them. One that is down for what the host lacks has no device
 * in the plan: it is named as the configuration does.
 */
export function portStatuses(
  plan: Plan,
  status: DataPlaneStatus | undefined,
  config: Config,
  drivers: ReadonlyMap<string, TunnelDriver>,
  details: TunnelDetailsOf,
): Pick<GatewayStatus, 'tunnels' | 'egresses'> {
  const known = new Map(status?.ports.map((port) => [`${port.index}.${port.generation}`, port]));
  const spaces = new Map(plan.spaces.map(({ id, name }) => [id, name]));
  const configured = new Map(
    [...config.sites.flatMap(({ tunnels }) => tunnels), ...config.egress].flatMap((entry) =>
      'device' in entry
        ? [[entry.name, entry.device] as const]
        : entry.type === 'ipsec'
          ? [[entry.name, entry.name] as const]
          : [],
    ),
  );
  const devices = new Map(plan.devices.map(({ index, name }) => [index, name]));
  const common = (port: PlanPort) => {
    const reported = known.get(`${port.index}.${port.generation}`);
    return {
      name: port.name,
      state: portState(port, reported),
      mtu: port.mtu,
      device: devices.get(port.link.device) ?? configured.get(port.name) ?? '',
      ...counters(reported),
    };
  };
  return {
    tunnels: plan.ports.flatMap((port) =>
      port.role === 'tunnel'
        ? [
            {
              ...withDetails(common(port), port.name, details),
              site: spaces.get(port.space) ?? '',
              type: port.tunnelType,
              priority: port.priority,
              driver: drivers.get(port.name) ?? null,
            },
          ]
        : [],
    ),
    egresses: plan.ports.flatMap((port) => (port.role === 'egress' ? [common(port)] : [])),
  };
}

function portState(port: PlanPort, reported: PortStatus | undefined): PortState {
  if (!port.enabled) return 'disabled';
  return reported?.state ?? 'unknown';
}

/** What health checks find down is down, whatever its device is; and what is not connected is not up. */
function withDetails<T extends { readonly state: PortState }>(
  port: T,
  name: string,
  details: TunnelDetailsOf,
): T & Pick<TunnelStatus, 'health' | 'reason' | 'since'> {
  const health = details.health(name);
  const connection = port.state === 'disabled' ? undefined : details.ipsec(name);
  const since = connection === undefined ? null : isoTime(connection.sinceMs);
  if (connection !== undefined && connection.state !== 'up' && port.state !== 'unknown') {
    return { ...port, state: connection.state, reason: connection.reason, since, health };
  }
  if (port.state === 'down') {
    const lack = details.lack(name);
    const lacking = lack === undefined ? null : isoTime(lack.sinceMs);
    return { ...port, reason: lack?.text ?? null, since: lacking, health };
  }
  if (port.state === 'up' && (health?.state === 'degraded' || health?.state === 'down')) {
    return { ...port, state: health.state, reason: failureOf(health), since: health.since, health };
  }
  return { ...port, reason: null, since, health };
}

function failureOf({ state, target, lossRatio }: TunnelHealthStatus): string {
  if (state === 'down') return `health checks: ${target} does not answer`;
  return `health checks: ${target} left ${(lossRatio * 100).toFixed(1)} % of the last ones unanswered`;
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}

function counters(reported: PortStatus | undefined): PortCounters {
  if (reported === undefined) return NO_COUNTERS;
  const { flows, rxPackets, rxBytes, txPackets, txBytes, drops } = reported;
  return { flows, rxPackets, rxBytes, txPackets, txBytes, drops };
}
