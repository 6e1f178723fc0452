/**
 * The shape of the configuration file: every key, its kind of value, its default. What holds between values is
 * in `checks/`; docs/configuration.md describes the same for users.
 *
 * What is planned but not built yet is known here by name and refused, never ignored.
 */
import * as z from 'zod';
import {
  addressBits,
  addressEquals,
  formatAddress,
  formatPrefix,
  parseAddress,
  parseInterfaceAddress,
} from '../../wire/address.ts';
import { api } from './api-schema.ts';
import type { InterfaceAddress, PortRange } from './config.ts';
import {
  addressesOf,
  isLinkLocal,
  isNetworkOrBroadcast,
  isOutsideSites,
  isUnicast,
  knownPrefix,
} from './ip.ts';
import { greIpsec, ipsecKeys, ipsecSettings } from './ipsec-schema.ts';
import {
  AUTO_OR,
  boolean,
  found,
  integer,
  listOf,
  map,
  mismatch,
  oneOf,
  oneOrMore,
  type Reading,
  show,
  text,
} from './leaves.ts';
import { plugins } from './plugin-schema.ts';
import { flowLog, log, metrics } from './telemetry-schema.ts';
import { readPercent, readRate } from './units.ts';

/** Interface names and the names of tunnels are as long as the kernel allows. */
const MAX_TUNNEL_NAME = 15;
const MAX_NAME = 63;
/** Each address takes memory for the state of all its ports, so a pool cannot be a /64. */
export const MAX_POOL_ADDRESSES = 16;
const MIN_RESERVED_PORTS = 256;

function notBuilt(what: string, instead = 'leave it out'): string {
  return `${what} not built yet; ${instead}`;
}

function name(what: string, maxLength: number) {
  const write = `letters, digits, - and _ (a letter or digit first), at most ${maxLength} characters`;
  return text({ what: `a name for ${what}`, write }, (value): Reading<string> | undefined => {
    if (!/^[A-Za-z0-9][A-Za-z0-9_-]*$/.test(value)) return undefined;
    if (value.length <= maxLength) return { value };
    return {
      problem: `${show(value)} has ${value.length} characters; write at most ${maxLength}`,
    };
  });
}

const device = text(
  { what: 'an interface name', write: 'a name as `ip link` shows it, such as eth0' },
  (value) => found(/^[^\s/:]{1,15}$/.test(value) && value !== '.' && value !== '..' ? value : undefined),
);

const ADDRESS = { what: 'an IP address', write: 'one such as 192.0.2.1 or 2001:db8::1' };

/** An address that one host can have; link-local ones only where they are told apart by the device. */
function address(linkLocal: 'allowed' | 'refused') {
  return text(ADDRESS, (value): Reading<string> | undefined => {
    const ip = parseAddress(value);
    if (!ip) return undefined;
    if (!isUnicast(ip)) return { problem: `${value} is no single host's address; write ${ADDRESS.write}` };
    if (linkLocal === 'refused' && isLinkLocal(ip)) {
      return { problem: `${value} is link-local and cannot be routed; write ${ADDRESS.write}` };
    }
    return { value: formatAddress(ip) };
  });
}

const prefix = text(
  { what: 'a prefix', write: 'an address and a length, such as 10.0.1.0/24 or 2001:db8:1::/48' },
  (value): Reading<string> | undefined => {
    const parsed = parseInterfaceAddress(value);
    if (!parsed.ok) return undefined;
    const right = formatPrefix(parsed.prefix);
    if (addressEquals(parsed.address, parsed.prefix)) return { value: right };
    return { problem: `${value} has bits set behind its length; write ${right}` };
  },
);

const sitePrefix = prefix.transform((value, context) => {
  const parsed = knownPrefix(value);
  if (parsed.length === 0) {
    context.addIssue({
      code: 'custom',
      message: `${value} is every address, not a site's own; write the site's prefixes and use routes for the rest`,
    });
  } else if (isOutsideSites(parsed)) {
    context.addIssue({
      code: 'custom',
      message: `${value} is loopback, link-local, multicast or reserved; write prefixes that hosts of a site have`,
    });
  }
  return value;
});

const interfaceAddress = text(
  { what: 'an address with its prefix length', write: 'one such as 172.20.0.1/30 or fd00:a::/127' },
  (value): Reading<InterfaceAddress> | undefined => {
    const parsed = parseInterfaceAddress(value);
    if (!parsed.ok) return undefined;
    const network = formatPrefix(parsed.prefix);
    if (!isUnicast(parsed.address)) {
      return { problem: `${value} is no single host's address; write one such as 172.20.0.1/30` };
    }
    if (isNetworkOrBroadcast(parsed.address, parsed.prefix)) {
      return {
        problem: `${value} is the network or broadcast address of ${network}; write a host's address in it`,
      };
    }
    return { value: { address: formatAddress(parsed.address), prefix: network } };
  },
);

const percent = text({ what: 'a share', write: 'a percentage above 0% up to 100%, such as 25%' }, (value) => {
  const share = readPercent(value);
  return found(share === 0 ? undefined : share);
});

const rate = text(
  { what: 'a rate', write: 'a whole number per second such as 500/s, or unlimited' },
  (value) => {
    if (value === 'unlimited') return { value: 0 };
    const perSecond = readRate(value);
    return found(perSecond === 0 ? undefined : perSecond);
  },
);

const portRange = text(
  { what: 'a range of ports', write: 'first and last port, such as 61000-65535' },
  (value): Reading<PortRange> | undefined => {
    const match = /^(\d{1,5})-(\d{1,5})$/.exec(value);
    if (!match) return undefined;
    const [min, max] = [Number(match[1]), Number(match[2])];
    if (min < 1024 || max > 65535 || max - min + 1 < MIN_RESERVED_PORTS) {
      return {
        problem: `${value} is not usable; write at least ${MIN_RESERVED_PORTS} ports between 1024 and 65535`,
      };
    }
    return { value: { min, max } };
  },
);

const mtu = integer(576, 65535);
const port = integer(1, 65535);

const health = map('a health check', {
  target: address('refused').optional(),
  rate: oneOf(['none', 'low', 'mid', 'high']).default('mid'),
}).prefault({});

const tunnelCommon = {
  name: name('a tunnel', MAX_TUNNEL_NAME),
  enabled: boolean().default(true),
  priority: integer(0, 65535).default(100),
  automatic_return_routing: boolean().default(true),
  mtu: mtu.optional(),
  health,
};

const greTunnel = map('a GRE tunnel', {
  ...tunnelCommon,
  type: z.literal('gre'),
  local: address('refused'),
  remote: address('refused'),
  key: integer(0, 4294967295).optional(),
  checksum: boolean().default(false),
  sequence: boolean().default(false),
  driver: oneOf(['auto', 'kernel', 'userspace']).default('auto'),
  ttl: integer(1, 255).default(64),
  ipsec: greIpsec.optional(),
  interface_address: oneOrMore(interfaceAddress, 'an address with its prefix length').default([]),
});

const interconnectTunnel = map('an interconnect', {
  ...tunnelCommon,
  type: z.literal('interconnect'),
  device,
  interface_address: oneOrMore(interfaceAddress, 'an address with its prefix length'),
  next_hop: oneOrMore(address('allowed'), 'an address').default([]),
});

const deviceTunnel = map('a device tunnel', {
  ...tunnelCommon,
  type: z.literal('device'),
  device,
  driver: oneOf(['packet', 'tun']).default('packet'),
  interface_address: oneOrMore(interfaceAddress, 'an address with its prefix length').default([]),
});

const ipsecTunnel = map('an IPsec tunnel', {
  ...tunnelCommon,
  type: z.literal('ipsec'),
  local: address('refused'),
  ...ipsecKeys,
  interface_address: oneOrMore(interfaceAddress, 'an address with its prefix length').default([]),
});

const TUNNEL_TYPES = 'one of gre, ipsec, interconnect, device';

const tunnel = z.discriminatedUnion('type', [greTunnel, ipsecTunnel, interconnectTunnel, deviceTunnel], {
  error: ({ input }) => {
    if (input === null || typeof input !== 'object' || Array.isArray(input)) {
      return mismatch(input, { what: 'a tunnel', write: 'a map with name, type and what the type needs' });
    }
    const { type } = input as { type?: unknown };
    return mismatch(type, { what: 'a type of tunnel', write: TUNNEL_TYPES });
  },
});

const site = map('a site', {
  name: name('a site', MAX_NAME),
  prefixes: oneOrMore(sitePrefix, 'a prefix').default([]),
  tunnels: listOf(tunnel, 'a list of tunnels').min(1, 'is empty; write at least one tunnel'),
});

/** One address, or a small prefix as all of its addresses. */
const poolEntry = text(
  { what: 'an address or prefix', write: 'one such as 192.0.2.8 or 192.0.2.8/29' },
  (value): Reading<string[]> | undefined => {
    const parsed = parseInterfaceAddress(value);
    const address = parsed.ok ? parsed.address : parseAddress(value);
    if (!address) return undefined;
    if (!isUnicast(address) || isLinkLocal(address)) {
      return {
        problem: `${value} cannot be a sender on the internet; write an address that is routed to the gateway`,
      };
    }
    if (!parsed.ok) return { value: [formatAddress(address)] };
    if (!addressEquals(address, parsed.prefix)) {
      return { problem: `${value} has bits set behind its length; write ${formatPrefix(parsed.prefix)}` };
    }
    if (2 ** (addressBits(address.family) - parsed.prefix.length) > MAX_POOL_ADDRESSES) {
      return {
        problem: `${value} has too many addresses; write at most ${MAX_POOL_ADDRESSES} for one egress`,
      };
    }
    return { value: addressesOf(parsed.prefix) };
  },
);

/** The word `auto`, or what the other schema takes. */
function autoOr<T extends z.ZodType>(other: T) {
  return z
    .unknown()
    .transform((value, context): 'auto' | z.output<T> => {
      if (value === 'auto') return 'auto';
      const result = other.safeParse(value);
      if (result.success) return result.data;
      for (const issue of result.error.issues) {
        context.addIssue({ code: 'custom', path: issue.path, message: issue.message });
      }
      return z.NEVER;
    })
    .meta({ [AUTO_OR]: other })
    .prefault('auto');
}

const portForward = map('a port forward', {
  protocol: oneOf(['tcp', 'udp']),
  address: address('refused').optional(),
  port,
  to: map('where a port forward leads', {
    site: name('a site', MAX_NAME),
    address: address('refused'),
    port,
  }),
});

const egress = map(
  'an egress',
  {
    name: name('an egress', MAX_NAME),
    type: oneOf(['internet']),
    device,
    next_hop: autoOr(oneOrMore(address('allowed'), 'an address')),
    addresses: autoOr(oneOrMore(poolEntry, 'an address')),
    reserved_ports: autoOr(portRange),
    site_quota: percent.default(0.5),
    nat: map('translation', {
      ipv4: oneOf(['source', 'none']).default('source'),
      ipv6: oneOf(['source', 'none']).default('source'),
    }).prefault({}),
    mtu: mtu.optional(),
    port_forwards: listOf(portForward, 'a list of port forwards').default([]),
  },
  { health: notBuilt('health checks are') },
);

const route = map('a route', {
  prefix,
  via: name('a site or an egress', MAX_NAME),
  priority: integer(0, 65535).default(100),
});

/** TCP, UDP and ICMP start flows anyway; the others would carry tunnels, or are no upper-layer protocol. */
const REFUSED_PROTOCOLS: ReadonlyMap<number, string> = new Map([
  ...[1, 6, 17, 58].map((number) => [number, 'starts flows anyway; leave it out'] as const),
  ...[4, 41, 47, 50, 51].map(
    (number) => [number, 'is a tunnel protocol and never forwarded; leave it out'] as const,
  ),
  ...[0, 43, 44, 59, 60, 135, 139, 140].map(
    (number) => [number, 'is an IPv6 extension header, no protocol of its own; leave it out'] as const,
  ),
]);

const otherProtocol = integer(0, 255).superRefine((value, context) => {
  const why = REFUSED_PROTOCOLS.get(value);
  if (why !== undefined) context.addIssue({ code: 'custom', message: `${value} ${why}` });
});

const flowTable = map(
  'flow table settings',
  {
    max_flows: integer(1024, 4194304).default(262144),
    per_tunnel: percent.default(0.25),
    create_rate: map('rates', {
      per_tunnel: rate.default(20000),
      per_source: rate.default(500),
    }).prefault({}),
    other_protocols: oneOrMore(otherProtocol, 'a protocol number').default([]),
  },
  { timeouts: notBuilt('timeouts are') },
);

function absolutePath(example: string) {
  return text({ what: 'an absolute path', write: `one such as ${example}` }, (value) =>
    found(/^\/.*[^/]$/.test(value) ? value : undefined),
  );
}

const gateway = map('gateway settings', {
  name: name('the gateway', MAX_NAME).default('homeward'),
  state_dir: absolutePath('/var/lib/homeward').optional(),
  plugin_dir: absolutePath('/opt/homeward-plugins').optional(),
});

/** The whole file. Output: snake_case, as in the file, with defaults filled in. */
export const configSchema = map(
  'settings',
  {
    version: z.literal(1, {
      error: ({ input }) =>
        mismatch(input, {
          what: 'a known version',
          write: typeof input === 'string' ? '1 without quotes' : '1',
        }),
    }),
    gateway: gateway.prefault({}),
    sites: listOf(site, 'a list of sites').default([]),
    egress: listOf(egress, 'a list of egresses').default([]),
    routes: listOf(route, 'a list of routes').default([]),
    ipsec: ipsecSettings.prefault({}),
    flow_table: flowTable.prefault({}),
    plugins,
    api: api.prefault({}),
    metrics: metrics.prefault({}),
    flow_log: flowLog.optional(),
    log: log.prefault({}),
  },
  { health: notBuilt('health checks are') },
);

/** What {@link configSchema} makes of a file. */
export type ConfigDocument = z.output<typeof configSchema>;
