/** What control knows of the gateway, as the API gives it (`api/schemas/gateway.ts` checks the same shape). */
import type { DataPlaneStatus, PortStatus } from '../dataplane/messages.ts';
import type { Plan, PlanPort } from '../pipeline/plan.ts';
import type { PortCondition, PortState } from '../tunnel/port-state.ts';
import type { TunnelDriver } from './compile/linked-tunnel.ts';
import type { Config } from './config/config.ts';
import type { TunnelHealthStatus } from './health/tunnel-health.ts';
import type { DataPlaneReport } from './runtime/data-plane-requests.ts';

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

/** A port's condition as the API gives it (`tunnel/port-state.ts`). */
export interface PortStateStatus {
  readonly state: PortState;
  /** Why it is in this state; null where there is nothing to explain. */
  readonly reason: string | null;
  /** Since when it is in this state, as ISO 8601. */
  readonly since: string;
}

export interface TunnelStatus extends PortCounters, PortStateStatus {
  readonly name: string;
  readonly site: string;
  readonly type: 'gre' | 'interconnect' | 'device' | 'ipsec';
  readonly priority: number;
  readonly mtu: number;
  readonly device: string;
  /** What does its work, and why that; null: there is no choice. */
  readonly driver: TunnelDriver | null;
  /** What its health checks say; null: it is not checked. */
  readonly health: TunnelHealthStatus | null;
}

export interface EgressStatus extends PortCounters, PortStateStatus {
  readonly name: string;
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

/** What others know of ports. */
export interface PortDetails {
  /** Of a tunnel. */
  readonly health: (tunnel: string) => TunnelHealthStatus | null;
  /** Of a tunnel or an egress; undefined: nobody has looked yet. */
  readonly condition: (port: string) => PortCondition | undefined;
}

/**
 * The ports of the plan with what is known of them. One that is down for what the host lacks has no device
 * in the plan: it is named as the configuration does.
 */
export function portStatuses(
  plan: Plan,
  status: DataPlaneStatus | undefined,
  config: Config,
  drivers: ReadonlyMap<string, TunnelDriver>,
  details: PortDetails,
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
      ...stateOf(details.condition(port.name)),
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
              ...common(port),
              site: spaces.get(port.space) ?? '',
              type: port.tunnelType,
              priority: port.priority,
              driver: drivers.get(port.name) ?? null,
              health: details.health(port.name),
            },
          ]
        : [],
    ),
    egresses: plan.ports.flatMap((port) => (port.role === 'egress' ? [common(port)] : [])),
  };
}

function stateOf(condition: PortCondition | undefined): PortStateStatus {
  const { state, reason, sinceMs } = condition ?? { state: 'configured', reason: null, sinceMs: Date.now() };
  return { state, reason, since: new Date(sinceMs).toISOString() };
}

function counters(reported: PortStatus | undefined): PortCounters {
  if (reported === undefined) return NO_COUNTERS;
  const { flows, rxPackets, rxBytes, txPackets, txBytes, drops } = reported;
  return { flows, rxPackets, rxBytes, txPackets, txBytes, drops };
}
