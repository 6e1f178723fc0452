/**
 * Collects what the compiler must know about the host (`../facts.ts`): two `ip -json -batch` processes,
 * whatever the number of interfaces and questions.
 */
import { readFileSync } from 'node:fs';
import * as z from 'zod';
import type { DefaultRouteFacts, HostFacts, LinkFacts, RouteFacts, RouteQuery } from '../facts.ts';
import { collectHostRules } from './collect-host-rules.ts';
import { runCommand } from './command.ts';
import { kernelLinkFacts } from './kernel-modules.ts';

/** An interface as iproute2 shows it; what is not used is left out. */
const linkSchema = z.object({
  ifindex: z.int(),
  ifname: z.string(),
  flags: z.array(z.string()),
  mtu: z.int(),
  link_type: z.string(),
  address: z.string().optional(),
  master: z.string().optional(),
  linkinfo: z
    .object({
      info_kind: z.string().optional(),
      info_slave_kind: z.string().optional(),
      info_data: z
        .looseObject({
          type: z.string().optional(),
          remote: z.string().optional(),
          if_id: z.string().optional(),
        })
        .optional(),
    })
    .optional(),
  addr_info: z
    .array(
      z.object({
        local: z.string().optional(),
        prefixlen: z.int(),
        scope: z.string(),
        temporary: z.boolean().optional(),
        deprecated: z.boolean().optional(),
      }),
    )
    .optional(),
});

const routeSchema = z.object({
  dst: z.string(),
  from: z.string().optional(),
  gateway: z.string().optional(),
  via: z.unknown().optional(),
  dev: z.string().optional(),
  metric: z.int().optional(),
  type: z.string().optional(),
  metrics: z.array(z.object({ mtu: z.int().optional() })).optional(),
});

/**
 * @param withHostRules whether the host's firewall may matter: there are tunnels that the kernel may do
 * @throws CommandError if `ip` is missing; Error if it says something that is not understood.
 */
export async function collectFacts(
  queries: readonly RouteQuery[],
  withHostRules = false,
): Promise<HostFacts> {
  const asked = queries.map(({ local, remote }) => `route get ${remote} from ${local}`);
  const kernelLinks = kernelLinkFacts();
  const hasKernelTunnels = Object.values(kernelLinks).some(({ available }) => available);
  const [first, second, hostRules] = await Promise.all([
    // -force: a question without an answer is an error of its own and does not end the batch.
    runCommand('ip', ['-json', '-details', '-force', '-batch', '-'], {
      input: ['addr show', 'route show default', ...asked, ''].join('\n'),
      mayFail: true,
    }),
    runCommand('ip', ['-6', '-json', '-force', '-batch', '-'], {
      input: 'route show default\n',
      mayFail: true,
    }),
    withHostRules && hasKernelTunnels ? collectHostRules() : undefined,
  ]);
  const [links, routes4, ...answers] = splitJson(first);
  const [routes6] = splitJson(second);
  return {
    links: parseLinks(links),
    defaultRoutes: [...parseDefaultRoutes(routes4, 4), ...parseDefaultRoutes(routes6, 6)],
    routes: parseAnswers(answers.flat(), queries),
    kernelLinks,
    refusedLinks: {},
    hostRules,
    localPortRange: readLocalPortRange(),
  };
}

function parseLinks(json: unknown): Record<string, LinkFacts> {
  // `ip` leaves empty objects where a filter took an entry away.
  const links = z.array(z.unknown()).parse(json).filter(isNotEmpty);
  return Object.fromEntries(
    links.map((entry) => {
      const link = linkSchema.parse(entry);
      const kind = linkKind(link);
      return [
        link.ifname,
        {
          ifindex: link.ifindex,
          kind,
          ...(kind === 'ethernet' && link.address !== undefined ? { mac: link.address.toLowerCase() } : {}),
          mtu: link.mtu,
          up: link.flags.includes('UP'),
          ...(link.flags.includes('NO-CARRIER') ? { carrier: false as const } : {}),
          ...restOf(link),
          ...interfaceIdOf(link),
          ...masterOf(link),
          addresses: (link.addr_info ?? []).flatMap((address) =>
            address.local === undefined
              ? []
              : [
                  {
                    address: address.local,
                    prefixLength: address.prefixlen,
                    scope:
                      address.scope === 'link' || address.scope === 'host'
                        ? address.scope
                        : ('global' as const),
                    transient: (address.temporary ?? false) || (address.deprecated ?? false),
                  },
                ],
          ),
        },
      ];
    }),
  );
}

function linkKind(link: z.infer<typeof linkSchema>): LinkFacts['kind'] {
  if (link.link_type === 'loopback') return 'loopback';
  if (link.link_type === 'ether') return 'ethernet';
  return link.linkinfo?.info_kind === 'tun' ? 'tun' : 'layer3';
}

/** A GRE interface without a remote end takes what those with one do not take: the kernel's own `gre0`, mGRE. */
function restOf({ flags, linkinfo }: z.infer<typeof linkSchema>): Pick<LinkFacts, 'takesRest'> {
  const kind = linkinfo?.info_kind;
  if ((kind !== 'gre' && kind !== 'ip6gre') || !flags.includes('UP')) return {};
  const remote = linkinfo?.info_data?.remote ?? 'any';
  return ['any', '0.0.0.0', '::'].includes(remote) ? { takesRest: kind } : {};
}

function interfaceIdOf({ linkinfo }: z.infer<typeof linkSchema>): Pick<LinkFacts, 'interfaceId'> {
  const text = linkinfo?.info_kind === 'xfrm' ? linkinfo.info_data?.if_id : undefined;
  return text === undefined ? {} : { interfaceId: Number(text) };
}

/** A VRF leaves packets their way through prerouting; others take them before that. */
function masterOf({ master, linkinfo }: z.infer<typeof linkSchema>): Pick<LinkFacts, 'partOf'> {
  const kind = linkinfo?.info_slave_kind;
  if (master === undefined || kind === undefined || kind === 'vrf') return {};
  return { partOf: { kind, name: master } };
}

function parseDefaultRoutes(json: unknown, family: 4 | 6): DefaultRouteFacts[] {
  return (
    z
      .array(z.unknown())
      .parse(json ?? [])
      .filter(isNotEmpty)
      .map((entry) => routeSchema.parse(entry))
      // An IPv4 route by an IPv6 neighbour (RFC 5549) has no next hop that we could use.
      .filter(
        (route) =>
          route.dev !== undefined && route.via === undefined && (route.type ?? 'unicast') === 'unicast',
      )
      .map((route) => ({
        family,
        device: route.dev!,
        nextHop: route.gateway ?? null,
        metric: route.metric ?? 0,
      }))
  );
}

/** Answers come in the order of the questions, but some questions have none. */
function parseAnswers(answers: readonly unknown[], queries: readonly RouteQuery[]): RouteFacts[] {
  const routes = answers.filter(isNotEmpty).map((entry) => routeSchema.parse(entry));
  return queries.flatMap(({ local, remote }) => {
    const route = routes.find((candidate) => candidate.dst === remote && candidate.from === local);
    if (route?.dev === undefined || route.via !== undefined || (route.type ?? 'unicast') !== 'unicast')
      return [];
    const mtu = route.metrics?.find((metrics) => metrics.mtu !== undefined)?.mtu;
    const narrow = mtu === undefined ? {} : { mtu };
    return [{ local, remote, device: route.dev, nextHop: route.gateway ?? null, ...narrow }];
  });
}

function readLocalPortRange(): { min: number; max: number } {
  const [min, max] = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'latin1')
    .trim()
    .split(/\s+/)
    .map(Number);
  return { min: min!, max: max! };
}

function isNotEmpty(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length > 0;
}

/** A batch prints one JSON array after the other. Strings cannot hold a newline, so arrays begin lines. */
function splitJson(text: string): unknown[][] {
  return text
    .split(/\n(?=\[)/)
    .filter((part) => part.trim() !== '')
    .map((part) => z.array(z.unknown()).parse(JSON.parse(part)));
}
