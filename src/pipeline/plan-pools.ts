/** What a plan has for translation: pools, ports that forwards take, and the sites that share them. */
import type { AddressWords, ReservedPort, TranslationPool } from '../flow/port-pool.ts';
import { IPV4, IPV6, PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/packet.ts';
import type { AddressText, Plan } from './plan.ts';
import { planAddress } from './plan-address.ts';

/** Who shares the flow table, the external ports and the held tuples. */
export function siteSpaces(plan: Plan): number[] {
  return plan.spaces.flatMap(({ id, kind }) => (kind === 'site' ? [id] : []));
}

export function translationPools(plan: Plan): TranslationPool[] {
  return plan.ports.flatMap((port) =>
    port.role === 'egress'
      ? port.pools.map((pool) => ({
          egress: port.space,
          ...addressOf(pool.address),
          portMin: pool.portMin,
          portMax: pool.portMax,
          quotaPerSite: pool.quotaPerSite,
        }))
      : [],
  );
}

export function reservedPorts(plan: Plan): ReservedPort[] {
  return plan.ports.flatMap((port) =>
    port.role === 'egress'
      ? port.portForwards.map((forward) => ({
          egress: port.space,
          ...addressOf(forward.address),
          protocol: forward.protocol === 'tcp' ? PROTOCOL_TCP : PROTOCOL_UDP,
          port: forward.port,
        }))
      : [],
  );
}

function addressOf(text: AddressText): { family: 4 | 6; address: AddressWords } {
  const { family, words } = planAddress(text);
  return { family: family === IPV4 ? IPV4 : IPV6, address: [words[0], words[1], words[2], words[3]] };
}
