/** Flags that say which flows are meant, and what the API calls them. */
import { Flags } from '@oclif/core';
import type { FlowConditionParameters } from '../api/client/flows.ts';
import { FLOW_STATES } from '../api/schemas/flows.ts';

const portFlag = (summary: string, helpValue = 'PORT') =>
  Flags.integer({ summary, helpValue, min: 0, max: 65535 });

/** The five-tuple of a packet, or of a flow as its originator sends it. */
export const TUPLE_FLAGS = {
  src: Flags.string({ summary: 'Source address as the originator sends it.', helpValue: 'ADDRESS' }),
  dst: Flags.string({ summary: 'Destination address as the originator sends it.', helpValue: 'ADDRESS' }),
  proto: Flags.string({ summary: 'tcp, udp, icmp, icmpv6, sctp or a number.', helpValue: 'PROTOCOL' }),
  sport: portFlag('Source port as the originator sends it; of ICMP the identifier.'),
  dport: portFlag('Destination port as the originator sends it.'),
};

/** Conditions; all that are given must hold. Prefixes may stand where addresses do. */
export const FLOW_FLAGS = {
  tunnel: Flags.string({
    summary: 'Flows that come or go by this tunnel, egress or diversion.',
    helpValue: 'NAME',
  }),
  site: Flags.string({ summary: 'Flows that this site or egress takes part in.', helpValue: 'NAME' }),
  address: Flags.string({ summary: "Any of the flow's addresses, or a prefix of it.", helpValue: 'ADDRESS' }),
  port: portFlag("Any of the flow's ports, or its ICMP identifier."),
  ...TUPLE_FLAGS,
  state: Flags.string({ summary: 'What the flow is doing.', options: [...FLOW_STATES] }),
  verdict: Flags.string({ summary: 'Whether a plugin accepted it.', options: ['accept', 'continue'] }),
  plugin: Flags.string({ summary: 'This plugin accepted it, or still looks at it.', helpValue: 'NAME' }),
};

interface FlowFlagValues {
  readonly tunnel?: string | undefined;
  readonly site?: string | undefined;
  readonly address?: string | undefined;
  readonly port?: number | undefined;
  readonly src?: string | undefined;
  readonly dst?: string | undefined;
  readonly proto?: string | undefined;
  readonly sport?: number | undefined;
  readonly dport?: number | undefined;
  readonly state?: string | undefined;
  readonly verdict?: string | undefined;
  readonly plugin?: string | undefined;
}

/** The flags as `GET /v1/flows` takes them. */
export function flowConditions(flags: FlowFlagValues): FlowConditionParameters {
  const { tunnel, site, address, port, state, verdict, plugin } = flags;
  return {
    tunnel,
    site,
    address,
    port,
    source: flags.src,
    destination: flags.dst,
    protocol: flags.proto,
    source_port: flags.sport,
    destination_port: flags.dport,
    state,
    verdict,
    plugin,
  };
}
