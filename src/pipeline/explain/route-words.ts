/**
 * Why the routing table answers what it answers. The answer and what was considered come from the same walk
 * (`routing-table.ts`); here are only the words.
 */
import { DROP, DROP_REASON_NAMES } from '../../plugin/drop-reasons.ts';
import { type Address, formatAddress, formatPrefix, prefixOf } from '../../wire/address.ts';
import type { PortTable } from '../port-table.ts';
import type { RoutingTable } from '../routing-table.ts';
import type { ExplainedPort } from './explanation.ts';
import { listed, type Words } from './words.ts';

/** What `lookup` said of an address, in words. */
export interface RouteAnswer {
  /** 0: nowhere. */
  readonly space: number;
  /** Drop reason; 0 if it leads somewhere. */
  readonly reason: number;
  readonly text: string;
}

/** Asks the table, as for a new flow from `sender` (a space; 0: one that declares nothing). */
export function routeAnswer(
  routes: RoutingTable,
  words: Words,
  address: Address,
  sender: number,
): RouteAnswer {
  const [word0, word1, word2, word3] = address.words as unknown as [number, number, number, number];
  const space = routes.lookup(address.family, word0, word1, word2, word3, sender);
  const reason = space === 0 ? routes.reason : 0;
  const { declaredBy, declaredLength, routeSpace, routeLength, siteRouteLength } = routes.considered(
    address.family,
    word0,
    word1,
    word2,
    word3,
  );
  const where = formatAddress(address);
  const declared = declaredLength < 0 ? '' : formatPrefix(prefixOf(address, declaredLength));
  const route = routeLength < 0 ? '' : formatPrefix(prefixOf(address, routeLength));
  const siteRoute = siteRouteLength < 0 ? '' : formatPrefix(prefixOf(address, siteRouteLength));
  const names = listed(declaredBy.map((id) => words.space(id)));
  return { space, reason, text: sentence() };

  function sentence(): string {
    switch (reason) {
      case 0:
        break;
      case DROP.own_site_destination:
        return `${where} is inside ${words.spaceOfKind(sender)} itself, where the packet comes from: it never leads to another site.`;
      case DROP.ambiguous_destination:
        return `${where} is ambiguous: ${names} declare it, and no route names one of them. Routing never chooses between sites.`;
      case DROP.no_route:
        return `No site declares ${where}, and no route has it.`;
      case DROP.private_destination:
        return `${where} is private and no site declares it: the route ${route} to ${words.spaceOfKind(routeSpace)} does not take it, because private addresses never fall to the internet.`;
      default:
        return `${where} leads nowhere (${DROP_REASON_NAMES[reason]}).`;
    }
    const goal = words.spaceOfKind(space);
    if (declaredBy.length > 1) return `${names} declare ${where}; the route ${siteRoute} names ${goal}.`;
    if (declaredBy[0] !== space) {
      const against =
        declaredBy.length === 0 ? '' : `, which is as long as ${declared} of ${names} or longer`;
      return `${where} leads to ${goal}, by the longest route that has it, ${route}${against}.`;
    }
    return `${where} leads to ${goal}, which declares ${declared}; no route is as long.`;
  }
}

/** The ports of a space, with what the choice among them looks at. */
export function portsOf(ports: PortTable, space: number): ExplainedPort[] {
  const candidates = ports.candidatesOf(space);
  return ports
    .all()
    .filter((port) => port.space === space)
    .map((port) => ({
      name: port.name,
      priority: port.role === 'tunnel' ? port.priority : null,
      isUp: ports.wordOf[port.index] !== 0,
      isAvoided: ports.penaltyOf(port.index) !== 0,
      isCandidate: candidates.includes(port.index),
    }));
}

/** Why a port of a space was chosen; `chosen` undefined: there is none. */
export function choiceWords(
  all: readonly ExplainedPort[],
  chosen: string | undefined,
  space: string,
): string {
  const down = all.filter(({ isUp }) => !isUp).map(({ name }) => name);
  if (chosen === undefined)
    return `No port of ${space} is up (${listed(down)}): the packet is dropped, and goes nowhere else.`;
  const candidates = all.filter(({ isCandidate }) => isCandidate);
  const avoided = all.filter(({ isUp, isAvoided }) => isUp && isAvoided).map(({ name }) => name);
  const besides = [
    ...(down.length === 0 ? [] : [` ${listed(down)} ${down.length === 1 ? 'is' : 'are'} down.`]),
    ...(avoided.length === 0 ? [] : [` Health checks of ${listed(avoided)} fail; the others are preferred.`]),
  ].join('');
  if (all.length === 1) return `It leaves by ${chosen}, the only port of ${space}.`;
  const priority = candidates[0]?.priority;
  if (candidates.length === 1) {
    return `It leaves by ${chosen}, whose priority (${priority}) is the best that is up in ${space}.${besides}`;
  }
  const names = listed(candidates.map(({ name }) => name));
  return `It leaves by ${chosen}: ${names} have the best priority (${priority}), and the five-tuple chooses among them.${besides}`;
}
