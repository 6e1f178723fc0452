/**
 * The plan compiler: configuration + facts about the host + identities -> what the data plane needs (`Plan`)
 * and what the host side has to do (`HostSetup`).
 *
 * ```
 *  Config ----+                                        +--> Plan       data plane (filters are added by host/)
 *  HostFacts -+-> drafts, checked -> numbers, digest --+
 *                                    ^                 +--> HostSetup  host/
 *  Identities -----------------------+
 * ```
 *
 * The same input gives the same output. Nothing is done to the host; identities are assigned only when the
 * whole configuration is right, and have to be saved before the plan is used.
 */
import { createHash } from 'node:crypto';
import type { Plan, PlanDevice, PlanLink, PlanPort, PlanSpace } from '../../pipeline/plan.ts';
import type { Config, EgressConfig, TunnelConfig } from '../config/config.ts';
import type { Problem } from '../config/errors.ts';
import type { HostFacts } from '../facts.ts';
import type { Identities, SpaceRequest } from '../identities.ts';
import { DeviceDrafts, linkByName } from './devices.ts';
import { draftDiversions } from './diversions.ts';
import type { DeviceDraft, PortDraft } from './drafts.ts';
import { type DraftedEgress, draftEgresses } from './egress.ts';
import { planFlowEvents } from './flow-events.ts';
import { HostFindings, type Tolerance } from './host-findings.ts';
import type { HostDevice, HostSetup } from './host-setup.ts';
import type { IpsecWish } from './ipsec-wish.ts';
import type { TunnelDriver, Underlay } from './linked-tunnel.ts';
import { planPlugins } from './plugins.ts';
import { draftTunnels } from './tunnels.ts';

export { needsHostRules, routeQueries } from './route-queries.ts';

/** `link.device` in the plan of a port that is on none, because the host lacks what it needs. */
const NO_DEVICE = -1;

export interface Compilation {
  readonly plan: Plan;
  readonly host: HostSetup;
  /** What is legal on this host but worth knowing; those of the configuration alone are `Config.notices`. */
  readonly notices: readonly Problem[];
  /** Why ports are down, in the file's order: what the host lacks, and what does not fit it. */
  readonly problems: readonly Problem[];
  /** By tunnel, of those that have a choice. */
  readonly drivers: ReadonlyMap<string, TunnelDriver>;
  /** IPsec tunnels to run. */
  readonly ipsec: readonly IpsecWish[];
  /** For the next compilation. */
  readonly known: KnownPorts;
}

/**
 * Ports as they were when they were last not down, by name, with the part of the configuration that they were made
 * from: while that is the same, a port that is down keeps what it had of the host.
 */
export interface KnownPorts {
  readonly underlays: ReadonlyMap<string, Known<Underlay>>;
  readonly egresses: ReadonlyMap<string, Known<DraftedEgress>>;
}

interface Known<T> {
  /** The configuration, as JSON. */
  readonly of: string;
  readonly value: T;
}

export interface CompileOptions {
  /** What does not make it fail. Default: `lacks`. */
  readonly tolerate?: Tolerance;
  /** What is remembered of the host: `known` of the compilation before. */
  readonly known?: KnownPorts | undefined;
  /** How often plugins were read anew, by name; default: never. */
  readonly pluginRevisions?: ReadonlyMap<string, number>;
  /** Names of diversions' ports whose proxies are ready; default: none. */
  readonly readyDiversions?: ReadonlySet<string>;
}

/**
 * Compiles a configuration for this host. A port for which the host lacks something is in the plan, down.
 *
 * @throws ConfigError for what is not tolerated. Then no number is used up.
 * @throws IdentityError `identities_exhausted`.
 */
export function compilePlan(
  config: Config,
  facts: HostFacts,
  identities: Identities,
  options: CompileOptions = {},
): Compilation {
  const findings = new HostFindings(config.source);
  const devices = new DeviceDrafts(facts, findings);
  const { underlays, egresses: formerEgresses } = options.known ?? {
    underlays: new Map(),
    egresses: new Map(),
  };
  const tunnels = draftTunnels(config, facts, devices, findings, (tunnel) => recall(underlays, tunnel));
  const egresses = draftEgresses(config, facts, devices, findings, (egress) =>
    recall(formerEgresses, egress),
  );
  const diversions = draftDiversions(config, devices, options.readyDiversions ?? new Set());
  findings.throwUnless(options.tolerate ?? 'lacks');

  const ports = [...[...tunnels, ...egresses].map(({ draft }) => draft), ...diversions];
  const deviceDrafts = devices.all();
  const spaces = spaceRequests(config, ports);
  const assigned = identities.assign({
    spaces,
    ports: ports.map(({ name, spaceName, fingerprint }) => ({
      name,
      fingerprint: `${spaceName} ${fingerprint}`,
    })),
    devices: deviceDrafts.map(({ host }) => host.name),
  });
  const spaceIds = new Map(spaces.map(({ name }, at) => [name, assigned.spaces[at]!]));
  const deviceIndexes = new Map(deviceDrafts.map(({ host }, at) => [host.name, assigned.devices[at]!]));

  const content: Omit<Plan, 'generation'> = {
    gatewayName: config.gateway.name,
    spaces: planSpaces(config, ports, spaceIds),
    devices: deviceDrafts.filter(({ host }) => host.present).map((draft) => planDevice(draft, deviceIndexes)),
    ports: ports.map((draft, at) => planPort(draft, assigned.ports[at]!, spaceIds, deviceIndexes)),
    routes: config.routes.map(({ prefix, via, priority }) => ({ prefix, via: spaceIds.get(via)!, priority })),
    gatewayAddresses: gatewayAddresses(config, facts, deviceDrafts),
    flowTable: {
      maxFlows: config.flowTable.maxFlows,
      perTunnel: Math.max(1, Math.floor(config.flowTable.maxFlows * config.flowTable.perTunnel)),
      createRatePerTunnel: config.flowTable.createRatePerTunnel,
      createRatePerSource: config.flowTable.createRatePerSource,
      otherProtocols: config.flowTable.otherProtocols,
    },
    plugins: planPlugins(config.plugins, options.pluginRevisions),
    ...planFlowEvents(config.flowLog),
  };
  const host: HostSetup = {
    devices: deviceDrafts.map(
      (draft): HostDevice => ({ index: deviceIndexes.get(draft.host.name)!, ...draft.host }),
    ),
  };
  const digest = createHash('sha256')
    .update(JSON.stringify([content, host]))
    .digest('hex');
  const plan: Plan = { generation: identities.planGeneration(digest), ...content };
  const known: KnownPorts = {
    underlays: remember(
      underlays,
      config.sites.flatMap((site) => site.tunnels),
      tunnels.map(({ underlay }) => underlay),
    ),
    egresses: remember(
      formerEgresses,
      config.egress,
      egresses.map((drafted) => (drafted.share === undefined ? undefined : drafted)),
    ),
  };
  const drivers = new Map(
    tunnels.flatMap(({ draft, driver }) => (driver === undefined ? [] : [[draft.name, driver]])),
  );
  const ipsec = tunnels.flatMap((tunnel) => (tunnel.ipsec === undefined ? [] : [tunnel.ipsec]));
  return { plan, host, notices: findings.notices, problems: findings.problems, drivers, ipsec, known };
}

function recall<T>(known: ReadonlyMap<string, Known<T>>, entry: TunnelConfig | EgressConfig): T | undefined {
  const former = known.get(entry.name);
  return former?.of === JSON.stringify(entry) ? former.value : undefined;
}

/** What is not down now is known by that; what is down, by what was known before. */
function remember<T>(
  known: ReadonlyMap<string, Known<T>>,
  entries: readonly (TunnelConfig | EgressConfig)[],
  values: readonly (T | undefined)[],
): ReadonlyMap<string, Known<T>> {
  return new Map(
    entries.flatMap((entry, at): [string, Known<T>][] => {
      const value = values[at] ?? recall(known, entry);
      return value === undefined ? [] : [[entry.name, { of: JSON.stringify(entry), value }]];
    }),
  );
}

function spaceRequests(config: Config, ports: readonly PortDraft[]): SpaceRequest[] {
  const membersOf = (name: string): string[] =>
    ports.flatMap(({ spaceName, fingerprint }) => (spaceName === name ? [fingerprint] : []));
  return [
    ...config.sites.map(({ name }): SpaceRequest => ({ kind: 'site', name, members: membersOf(name) })),
    ...config.egress.map(({ name }): SpaceRequest => ({ kind: 'egress', name, members: membersOf(name) })),
    ...ports.flatMap(({ role, name }): SpaceRequest[] =>
      role === 'diversion' ? [{ kind: role, name, members: [] }] : [],
    ),
  ];
}

function planSpaces(
  config: Config,
  ports: readonly PortDraft[],
  ids: ReadonlyMap<string, number>,
): PlanSpace[] {
  return [
    ...config.sites.map(
      ({ name, prefixes }): PlanSpace => ({ id: ids.get(name)!, name, kind: 'site', prefixes }),
    ),
    ...config.egress.map(
      ({ name }): PlanSpace => ({ id: ids.get(name)!, name, kind: 'egress', prefixes: [] }),
    ),
    ...ports.flatMap(({ role, name }): PlanSpace[] =>
      role === 'diversion' ? [{ id: ids.get(name)!, name, kind: role, prefixes: [] }] : [],
    ),
  ];
}

function planDevice(draft: DeviceDraft, indexes: ReadonlyMap<string, number>): PlanDevice {
  const { name, mtu } = draft.host;
  const mac = draft.mac === undefined ? {} : { mac: draft.mac };
  return { index: indexes.get(name)!, name, kind: draft.planKind, mtu, ...mac };
}

function planPort(
  draft: PortDraft,
  identity: { readonly index: number; readonly generation: number },
  spaceIds: ReadonlyMap<string, number>,
  deviceIndexes: ReadonlyMap<string, number>,
): PlanPort {
  const { spaceName, fingerprint: _, ...rest } = draft;
  const numbers = {
    ...identity,
    space: spaceIds.get(spaceName)!,
    link: { ...draft.link, device: deviceNumber(draft.link.device, deviceIndexes) } as PlanLink,
  };
  if (rest.role !== 'egress') return { ...rest, ...numbers };
  const portForwards = rest.portForwards.map(({ to, ...external }) => ({
    ...external,
    to: { space: spaceIds.get(to.site)!, address: to.address, port: to.port },
  }));
  return { ...rest, ...numbers, portForwards };
}

function deviceNumber(name: string | null, indexes: ReadonlyMap<string, number>): number {
  return name === null ? NO_DEVICE : indexes.get(name)!;
}

/** Tunnel endpoints, the uplinks' own addresses, and the gateway's addresses inside the tunnels. */
function gatewayAddresses(config: Config, facts: HostFacts, devices: readonly DeviceDraft[]): string[] {
  const addresses = new Set<string>();
  for (const tunnel of config.sites.flatMap((site) => site.tunnels)) {
    if ('local' in tunnel) addresses.add(tunnel.local);
    for (const { address } of tunnel.interfaceAddresses) addresses.add(address);
  }
  for (const { host } of devices) {
    if (host.role !== 'shared') continue;
    for (const { address, scope } of linkByName(facts, host.name)?.addresses ?? []) {
      if (scope === 'global') addresses.add(address);
    }
  }
  return [...addresses];
}
