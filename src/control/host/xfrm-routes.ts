/**
 * Routes of XFRM interfaces. Before it looks for an SA, the kernel asks its routing for the way of a packet that is sent
 * into such an interface: bound to it, whatever the destination. IPv4 then takes anything for on link; IPv6 wants a
 * route, or the packet is dropped (`xfrmi_xmit`, seen on 6.1).
 *
 * ```
 *  rule   oif paris-ip-1x4k9q lookup 26743      concerns nothing but what is bound to the interface
 *  route  default dev paris-ip-1x4k9q table 26743
 * ```
 *
 * The routes go with the interface, and when it is set down; the rules stay until they are removed.
 *
 * Neighbours: `links.ts`, `made-links.ts`.
 */
import { existsSync } from 'node:fs';
import * as z from 'zod';
import { runCommand } from './command.ts';
import { writeDisableIpv6 } from './interface-settings.ts';
import { ipBatch } from './ip-batch.ts';

/** Ours; in hexadecimal it is `hw`. */
const TABLE = 0x6877;
/** Behind that of local addresses, in front of those of the host. */
const RULE_PRIORITY = 100;
const QUIETLY = { family: 6, mayFail: true } as const;

const ruleSchema = z.object({ oif: z.string().optional(), table: z.string().optional() });
const routeSchema = z.object({ dst: z.string().optional(), dev: z.string().optional() });

/** Gives the interfaces, which are up, rules and routes, unless they have them. What fails is tried with the next look. */
export async function addXfrmRoutes(names: readonly string[]): Promise<void> {
  if (names.length === 0 || !hasIpv6()) return;
  const [rules, routes] = await Promise.all([
    show(ruleSchema, 'rule', 'show'),
    show(routeSchema, 'route', 'show', 'table', String(TABLE)),
  ]);
  const ruled = new Set(rules.flatMap(({ oif, table }) => (table === String(TABLE) ? [oif] : [])));
  const routed = new Set(routes.flatMap(({ dst, dev }) => (dst === 'default' ? [dev] : [])));
  const unrouted = names.filter((name) => !routed.has(name));
  // A host may have it off by default.
  for (const name of unrouted) writeDisableIpv6(name, '0');
  const commands = [
    ...names.filter((name) => !ruled.has(name)).map((name) => `rule add ${selector(name)}`),
    ...unrouted.map((name) => `route append default dev ${name} table ${TABLE}`),
  ];
  await ipBatch(commands, QUIETLY);
}

/** Removes the rules of interfaces that are gone, or are about to be. */
export async function removeXfrmRules(names: readonly string[]): Promise<void> {
  if (!hasIpv6()) return;
  await ipBatch(
    names.map((name) => `rule del ${selector(name)}`),
    QUIETLY,
  );
}

function selector(name: string): string {
  return `priority ${RULE_PRIORITY} oif ${name} table ${TABLE}`;
}

function hasIpv6(): boolean {
  return existsSync('/proc/sys/net/ipv6');
}

/** Nothing where there is no such table yet: then `ip` begins a list, and does not end it. */
async function show<T extends z.ZodType>(entry: T, ...args: readonly string[]): Promise<z.output<T>[]> {
  const text = await runCommand('ip', ['-6', '-json', ...args], { mayFail: true });
  return text.trimEnd().endsWith(']') ? z.array(entry).parse(JSON.parse(text)) : [];
}
