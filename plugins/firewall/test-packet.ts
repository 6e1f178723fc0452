/**
 * The packet that `homeward firewall test` asks about: built from its parameters, with the flow that it would begin.
 *
 * The firewall does not route. Where the packet would go is a parameter, or else guessed: the site that declares the
 * destination, else the first egress; `homeward flows explain` knows better.
 */
import {
  type FlowSetup,
  type PluginPort,
  PluginQueryError,
  type PluginTopology,
} from '../../src/plugin/contract.ts';
import { type Address, parseAddress, parsePrefix, prefixContains } from '../../src/wire/address.ts';
import { buildPacket, placePacket, type TransportSpec } from '../../src/wire/build.ts';
import { decode } from '../../src/wire/decode.ts';
import { FRAME_PREFIX_BYTES, FrameMemory } from '../../src/wire/frame.ts';
import {
  ICMP_QUERY,
  IPV4,
  PacketView,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  TCP_ACK,
  TCP_FIN,
  TCP_RST,
  TCP_SYN,
} from '../../src/wire/packet.ts';
import { MINUTES_A_DAY } from './condition.ts';
import { didYouMean, ExpressionError } from './tokens.ts';
import { DSCP_NAMES, PROTOCOL_NAMES, readNumber, readTime, readWeekday, TCP_FLAG_NAMES } from './values.ts';

/** The first one that is nobody's (RFC 6335). */
const USUAL_SOURCE_PORT = 49_152;

/** As the manifest's schema lets them through. */
export interface TestParameters {
  readonly from_tunnel: string;
  readonly to?: string;
  readonly src: string;
  readonly dst: string;
  readonly proto: string;
  readonly sport?: number;
  readonly dport?: number;
  readonly icmp_type?: number;
  readonly icmp_code?: number;
  /** Names with commas, as `syn,ece`. */
  readonly tcp_flags?: string;
  readonly ttl?: number;
  readonly dscp?: string;
  /** Of the IP packet, bytes. */
  readonly bytes?: number;
  /** `wed 14:30`, in the firewall's time zone. */
  readonly time?: string;
}

export interface TestPacket {
  readonly view: PacketView;
  readonly flow: FlowSetup;
  /** `port` names of either end. */
  readonly from: string;
  readonly to: string;
  /** Minutes since Monday, 00:00; undefined: now. */
  readonly minuteOfWeek: number | undefined;
}

/** @throws PluginQueryError for parameters that are no packet */
export function testPacket(parameters: TestParameters, topology: PluginTopology, nowMs: number): TestPacket {
  const source = addressOf('src', parameters.src);
  const destination = addressOf('dst', parameters.dst);
  if (source.family !== destination.family) {
    throw new PluginQueryError('src and dst are of two families');
  }
  const from = portNamed('from_tunnel', parameters.from_tunnel, topology);
  const to =
    parameters.to === undefined
      ? guessedPort(parameters.dst, destination, from, topology)
      : portNamed('to', parameters.to, topology);
  const flow: Partial<FlowSetup> = {
    ingressPort: from.index,
    egressPort: to.index,
    originatorSpace: from.space,
    responderSpace: to.space,
    hypothetical: true,
    reevaluated: false,
    nowMs,
  };
  return {
    view: viewOf(parameters, source.family),
    flow: flow as FlowSetup,
    from: from.name,
    to: to.name,
    minuteOfWeek: parameters.time === undefined ? undefined : minuteOf(parameters.time),
  };
}

function viewOf(parameters: TestParameters, family: number): PacketView {
  const { src, dst, ttl, dscp, bytes } = parameters;
  refuseStrangers(parameters);
  const transport = transportOf(parameters, family, new Uint8Array(0));
  const spec = {
    source: src,
    destination: dst,
    ttl: ttl ?? 64,
    trafficClass: dscp === undefined ? 0 : read('dscp', () => readNumber(dscp, 0, 63, DSCP_NAMES)) << 2,
  };
  const shortest = buildPacket({ ...spec, transport });
  if (bytes !== undefined && bytes < shortest.length) {
    throw new PluginQueryError(`bytes: this packet has ${shortest.length} at least`);
  }
  const payload = new Uint8Array((bytes ?? shortest.length) - shortest.length);
  const packet =
    payload.length === 0
      ? shortest
      : buildPacket({ ...spec, transport: transportOf(parameters, family, payload) });
  const memory = new FrameMemory(new ArrayBuffer((packet.length + FRAME_PREFIX_BYTES + 64 + 3) & ~3));
  const view = new PacketView(memory);
  const code = decode(view, placePacket(memory, 0, packet), packet.length);
  if (code !== 0) throw new PluginQueryError('no such packet reaches the firewall: homeward drops it before');
  if (!beginsFlow(view)) {
    throw new PluginQueryError(
      'no flow begins so: TCP begins with syn and without ack, fin and reset; ICMP with a request for echo or timestamp',
    );
  }
  return view;
}

/** As in the pipeline: nothing else reaches the firewall. */
function beginsFlow({ protocol, tcpFlags, icmpKind, ports }: PacketView): boolean {
  if (protocol === PROTOCOL_TCP) return (tcpFlags & (TCP_SYN | TCP_ACK | TCP_FIN | TCP_RST)) === TCP_SYN;
  if (protocol !== PROTOCOL_ICMP && protocol !== PROTOCOL_ICMPV6) return true;
  return icmpKind === ICMP_QUERY && ports >>> 16 === 0;
}

/** Parameters that are of some protocols only. */
const OWN_PARAMETERS: readonly (readonly [keyof TestParameters, readonly number[]])[] = [
  ['sport', [PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_ICMP, PROTOCOL_ICMPV6]],
  ['dport', [PROTOCOL_TCP, PROTOCOL_UDP]],
  ['tcp_flags', [PROTOCOL_TCP]],
  ['icmp_type', [PROTOCOL_ICMP, PROTOCOL_ICMPV6]],
  ['icmp_code', [PROTOCOL_ICMP, PROTOCOL_ICMPV6]],
];

function refuseStrangers(parameters: TestParameters): void {
  const protocol = protocolOf(parameters);
  for (const [name, protocols] of OWN_PARAMETERS) {
    if (parameters[name] !== undefined && !protocols.includes(protocol)) {
      throw new PluginQueryError(`${name}: ${parameters.proto} has none; leave it out`);
    }
  }
  if ((protocol === PROTOCOL_TCP || protocol === PROTOCOL_UDP) && parameters.dport === undefined) {
    throw new PluginQueryError(`dport: it is missing; to which port of ${parameters.dst}?`);
  }
}

function protocolOf({ proto }: TestParameters): number {
  return read('proto', () => readNumber(proto, 0, 255, PROTOCOL_NAMES));
}

function transportOf(parameters: TestParameters, family: number, payload: Uint8Array): TransportSpec {
  const { sport = USUAL_SOURCE_PORT, dport = 0, icmp_type, icmp_code } = parameters;
  const protocol = protocolOf(parameters);
  switch (protocol) {
    case PROTOCOL_TCP:
      return {
        kind: 'tcp',
        sourcePort: sport,
        destinationPort: dport,
        flags: flagsOf(parameters.tcp_flags),
        payload,
      };
    case PROTOCOL_UDP:
      return { kind: 'udp', sourcePort: sport, destinationPort: dport, payload };
    case PROTOCOL_ICMP:
    case PROTOCOL_ICMPV6:
      if ((protocol === PROTOCOL_ICMP) !== (family === IPV4)) {
        throw new PluginQueryError(`proto: write ${family === IPV4 ? 'icmp' : 'icmpv6'} for these addresses`);
      }
      return {
        kind: 'icmp',
        type: icmp_type ?? (family === IPV4 ? 8 : 128),
        code: icmp_code ?? 0,
        rest: (sport << 16) | 1,
        payload,
      };
    default:
      return { kind: 'raw', protocol, payload: payload.length > 8 ? payload : new Uint8Array(8) };
  }
}

function flagsOf(text: string | undefined): number {
  if (text === undefined) return TCP_SYN;
  return text.split(',').reduce((flags, name) => {
    const bit = TCP_FLAG_NAMES.indexOf(name.trim());
    if (bit < 0) {
      throw new PluginQueryError(`tcp_flags: "${name}" is no flag; they are ${TCP_FLAG_NAMES.join(', ')}`);
    }
    return flags | (1 << bit);
  }, 0);
}

function addressOf(name: string, text: string): Address {
  const address = parseAddress(text);
  if (address === undefined) throw new PluginQueryError(`${name}: "${text}" is no address`);
  return address;
}

function portNamed(parameter: string, name: string, topology: PluginTopology): PluginPort {
  const { ports } = topology;
  const port =
    ports.find((candidate) => candidate.name === name) ?? ports.find((candidate) => candidate.site === name);
  if (port !== undefined) return port;
  const names = ports.map((candidate) => candidate.name);
  throw new PluginQueryError(
    `${parameter}: there is no tunnel or egress "${name}"${didYouMean(name, names) || `; there are ${names.join(', ')}`}`,
  );
}

/** A destination that the sender's own site declares is there; else one site may. */
function guessedPort(
  text: string,
  destination: Address,
  from: PluginPort,
  { ports, spaces }: PluginTopology,
): PluginPort {
  const declaring = spaces.filter(({ prefixes }) =>
    prefixes.some((prefix) => {
      const result = parsePrefix(prefix);
      return result.ok && prefixContains(result.prefix, destination);
    }),
  );
  const space = declaring.find(({ id }) => id === from.space) ?? declaring[0];
  if (declaring.length > 1 && space?.id !== from.space) {
    const sites = declaring.map(({ site }) => site).join(' and ');
    throw new PluginQueryError(`to: ${sites} declare ${text}; say where it goes`);
  }
  const port =
    ports.find((candidate) => candidate.space === space?.id) ??
    ports.find((candidate) => candidate.kind === 'egress');
  if (port === undefined) {
    throw new PluginQueryError(
      'to: no site declares the destination, and there is no egress; say where it goes',
    );
  }
  return port;
}

/** `wed 14:30`. */
function minuteOf(text: string): number {
  const [day = '', time = ''] = text.trim().split(/\s+/);
  return read('time', () => readWeekday(day, 0) * MINUTES_A_DAY + readTime(time, 0));
}

function read(name: string, reading: () => number): number {
  try {
    return reading();
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error;
    throw new PluginQueryError(`${name}: ${error.reason}`);
  }
}
