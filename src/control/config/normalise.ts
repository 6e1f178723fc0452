/** From the file's checked content to the {@link Config} that everyone else reads: names, families, nothing more. */
import type {
  Config,
  ConfigSource,
  EgressConfig,
  FamilyAddresses,
  FlowLogConfig,
  HealthConfig,
  PluginConfig,
  PortForwardConfig,
  TunnelConfig,
} from './config.ts';
import type { Problem } from './errors.ts';
import { familyOf } from './ip.ts';
import type { ChildConfig, IkeConfig, SecretPlace } from './ipsec-config.ts';
import type { ConfigDocument } from './schema.ts';

type TunnelDocument = ConfigDocument['sites'][number]['tunnels'][number];
type FlowLogDocument = NonNullable<ConfigDocument['flow_log']>;
type EgressDocument = ConfigDocument['egress'][number];

export function toConfig(
  document: ConfigDocument,
  plugins: readonly PluginConfig[],
  notices: readonly Problem[],
  source: ConfigSource,
): Config {
  const { create_rate: createRate } = document.flow_table;
  return {
    version: document.version,
    gateway: {
      name: document.gateway.name,
      stateDir: document.gateway.state_dir ?? null,
      pluginDir: document.gateway.plugin_dir ?? null,
    },
    sites: document.sites.map(({ name, prefixes, tunnels }) => ({
      name,
      prefixes,
      tunnels: tunnels.map(toTunnel),
    })),
    egress: document.egress.map(toEgress),
    routes: document.routes,
    ipsec: { daemonSocket: document.ipsec.daemon.socket ?? null },
    flowTable: {
      maxFlows: document.flow_table.max_flows,
      perTunnel: document.flow_table.per_tunnel,
      createRatePerTunnel: createRate.per_tunnel,
      createRatePerSource: createRate.per_source,
      otherProtocols: document.flow_table.other_protocols,
    },
    plugins,
    api: { socket: document.api.socket ?? null, listen: document.api.listen },
    metrics: document.metrics,
    flowLog: document.flow_log === undefined ? null : toFlowLog(document.flow_log),
    log: document.log,
    notices,
    source,
  };
}

function toTunnel(tunnel: TunnelDocument): TunnelConfig {
  const common = {
    name: tunnel.name,
    enabled: tunnel.enabled,
    priority: tunnel.priority,
    automaticReturnRouting: tunnel.automatic_return_routing,
    mtu: tunnel.mtu ?? null,
    interfaceAddresses: tunnel.interface_address,
    health: toHealth(tunnel.health),
  };
  switch (tunnel.type) {
    case 'gre': {
      const { type, local, remote, checksum, sequence, driver, ttl } = tunnel;
      const ipsec = tunnel.ipsec === undefined ? null : toIpsec(tunnel.ipsec, remote);
      const key = tunnel.key ?? null;
      return { ...common, type, local, remote, key, checksum, sequence, driver, ttl, ipsec };
    }
    case 'ipsec': {
      const { type, local, driver } = tunnel;
      const remote = tunnel.remote === 'any' ? null : tunnel.remote;
      return { ...common, type, local, remote, ...toIpsec(tunnel, tunnel.remote), driver };
    }
    case 'interconnect':
      return { ...common, type: tunnel.type, device: tunnel.device, nextHop: byFamily(tunnel.next_hop) };
    case 'device':
      return { ...common, type: tunnel.type, device: tunnel.device, driver: tunnel.driver };
  }
}

function toHealth({ target, rate }: TunnelDocument['health']): HealthConfig | null {
  return rate === 'none' ? null : { target: target ?? null, rate };
}

function toIpsec(
  { ike, child }: Pick<Extract<TunnelDocument, { type: 'ipsec' }>, 'ike' | 'child'>,
  remote: string,
): { ike: IkeConfig; child: ChildConfig } {
  const { psk, certificate } = ike;
  return {
    ike: {
      localId: ike.local_id,
      remoteId: ike.remote_id,
      authentication:
        certificate === undefined
          ? { kind: 'psk', secret: toSecretPlace(psk ?? {}) }
          : { kind: 'certificate', certificate },
      proposals: ike.proposals,
      rekeyMs: ike.rekey,
      dpdMs: ike.dpd,
      // Nobody can be called whose address is not known.
      start: ike.start ?? (remote === 'any' ? 'respond' : 'both'),
    },
    child: {
      proposals: child.proposals,
      replayProtection: child.replay_protection,
      rekeyMs: child.rekey,
    },
  };
}

/** The schema saw to it that there is one of them. */
function toSecretPlace({ file, env }: { file?: string | undefined; env?: string | undefined }): SecretPlace {
  return file === undefined ? { env: env! } : { file };
}

function toEgress(egress: EgressDocument): EgressConfig {
  return {
    name: egress.name,
    type: egress.type,
    device: egress.device,
    nextHop: egress.next_hop === 'auto' ? 'auto' : byFamily(egress.next_hop),
    addresses: egress.addresses === 'auto' ? 'auto' : egress.addresses.flat(),
    reservedPorts: egress.reserved_ports,
    siteQuota: egress.site_quota,
    nat: egress.nat,
    mtu: egress.mtu ?? null,
    portForwards: egress.port_forwards.map(
      ({ protocol, address, port, to }): PortForwardConfig => ({
        protocol,
        address: address ?? null,
        port,
        to,
      }),
    ),
  };
}

function toFlowLog({
  file,
  rotate,
  ipfix,
  refusals,
  refusal_rate: refusalsPerSecond,
}: FlowLogDocument): FlowLogConfig {
  return {
    file: file ?? null,
    rotate: { sizeBytes: rotate.size, keep: rotate.keep },
    ipfix:
      ipfix === undefined
        ? null
        : {
            collector: ipfix.collector,
            transport: ipfix.transport,
            observationDomain: ipfix.observation_domain,
            templateIntervalMs: ipfix.template_interval,
            maxMessageBytes: ipfix.max_message,
          },
    refusals,
    refusalsPerSecond,
  };
}

/** The checks saw to it that there is at most one of each family. */
function byFamily(addresses: readonly string[]): FamilyAddresses {
  const of = (family: 4 | 6) => addresses.find((address) => familyOf(address) === family);
  const ipv4 = of(4);
  const ipv6 = of(6);
  return { ...(ipv4 === undefined ? {} : { ipv4 }), ...(ipv6 === undefined ? {} : { ipv6 }) };
}
