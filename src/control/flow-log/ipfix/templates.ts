/**
 * The information elements that homeward exports, and the templates it arranges them in (RFC 7011, 3.4; elements
 * of IANA's registry; NAT events by RFC 8158).
 *
 * ```
 *   id   family   of what              beside addresses and ports
 *  256   IPv4     begin                flow id, spaces, ports, when
 *  257   IPv4     begin, translated    the same, natEvent and the tuple after translation
 *  258   IPv4     end                  as 256, packets and bytes of both directions, duration, reason
 *  259   IPv4     end, translated      as 257, the same
 *  260   IPv4     refused              what came, and by which port
 *  261 - 265      the same for IPv6
 *  266   options  names of ports       scope: ingressInterface
 *  267   options  names of spaces      scope: ingressVRFID
 * ```
 *
 * A port's number is `ingressInterface` or `egressInterface`, an address space's number a VRF id. Packets and
 * bytes of IP are reported once, at the end, and so are those of the whole flow; the reply's are the reverse elements
 * of RFC 5103. An ICMP query's identifier stands in the source port (RFC 8158, 5.6).
 */

/** One field of a template: element and length in bytes; {@link VARIABLE} for text. */
export interface Field {
  readonly name: string;
  readonly element: number;
  readonly bytes: number;
  /** Private enterprise number; 0 for IANA's own elements. */
  readonly enterprise: number;
}

/** Of the elements that say the same of a flow's other direction (RFC 5103, 6.1). */
const REVERSE = 29305;

/** Length of a field whose length stands in front of it. */
export const VARIABLE = 65535;

function field(name: string, element: number, bytes: number): Field {
  return { name, element, bytes, enterprise: 0 };
}

function reverse(name: string, element: number, bytes: number): Field {
  return { name, element, bytes, enterprise: REVERSE };
}

/** Every element that is used, by its name in IANA's registry. */
export const FIELDS = {
  octetDeltaCount: field('octetDeltaCount', 1, 8),
  packetDeltaCount: field('packetDeltaCount', 2, 8),
  protocolIdentifier: field('protocolIdentifier', 4, 1),
  sourceTransportPort: field('sourceTransportPort', 7, 2),
  sourceIPv4Address: field('sourceIPv4Address', 8, 4),
  ingressInterface: field('ingressInterface', 10, 4),
  destinationTransportPort: field('destinationTransportPort', 11, 2),
  destinationIPv4Address: field('destinationIPv4Address', 12, 4),
  egressInterface: field('egressInterface', 14, 4),
  sourceIPv6Address: field('sourceIPv6Address', 27, 16),
  destinationIPv6Address: field('destinationIPv6Address', 28, 16),
  interfaceName: field('interfaceName', 82, VARIABLE),
  flowEndReason: field('flowEndReason', 136, 1),
  flowId: field('flowId', 148, 8),
  flowStartMilliseconds: field('flowStartMilliseconds', 152, 8),
  flowEndMilliseconds: field('flowEndMilliseconds', 153, 8),
  postNATSourceIPv4Address: field('postNATSourceIPv4Address', 225, 4),
  postNATDestinationIPv4Address: field('postNATDestinationIPv4Address', 226, 4),
  postNAPTSourceTransportPort: field('postNAPTSourceTransportPort', 227, 2),
  postNAPTDestinationTransportPort: field('postNAPTDestinationTransportPort', 228, 2),
  natOriginatingAddressRealm: field('natOriginatingAddressRealm', 229, 1),
  natEvent: field('natEvent', 230, 1),
  firewallEvent: field('firewallEvent', 233, 1),
  ingressVRFID: field('ingressVRFID', 234, 4),
  egressVRFID: field('egressVRFID', 235, 4),
  VRFname: field('VRFname', 236, VARIABLE),
  postNATSourceIPv6Address: field('postNATSourceIPv6Address', 281, 16),
  postNATDestinationIPv6Address: field('postNATDestinationIPv6Address', 282, 16),
  observationTimeMilliseconds: field('observationTimeMilliseconds', 323, 8),
  reverseOctetDeltaCount: reverse('reverseOctetDeltaCount', 1, 8),
  reversePacketDeltaCount: reverse('reversePacketDeltaCount', 2, 8),
} as const satisfies Readonly<Record<string, Field>>;

export type FieldName = keyof typeof FIELDS;

export interface Template {
  readonly id: number;
  /** Fields at the beginning that are scopes: an options template if there are any. */
  readonly scopes: number;
  readonly fields: readonly FieldName[];
}

const WHERE_FROM: readonly FieldName[] = [
  'observationTimeMilliseconds',
  'firewallEvent',
  'protocolIdentifier',
  'ingressInterface',
  'ingressVRFID',
];
const WHERE_TO: readonly FieldName[] = ['egressInterface', 'egressVRFID', 'flowId', 'flowStartMilliseconds'];
const ENDED: readonly FieldName[] = [
  'flowEndMilliseconds',
  'flowEndReason',
  'packetDeltaCount',
  'octetDeltaCount',
  'reversePacketDeltaCount',
  'reverseOctetDeltaCount',
];
const PORTS: readonly FieldName[] = ['sourceTransportPort', 'destinationTransportPort'];
const TRANSLATED: readonly FieldName[] = [
  'natEvent',
  'natOriginatingAddressRealm',
  'postNAPTSourceTransportPort',
  'postNAPTDestinationTransportPort',
];

function ofFamily(first: number, addresses: readonly FieldName[], after: readonly FieldName[]): Template[] {
  const refused = [...WHERE_FROM, ...addresses, ...PORTS];
  const begun = [...refused, ...WHERE_TO];
  const translated = [...begun, ...TRANSLATED, ...after];
  return [begun, translated, [...begun, ...ENDED], [...translated, ...ENDED], refused].map((fields, at) => ({
    id: first + at,
    scopes: 0,
    fields,
  }));
}

const IPV4_TEMPLATES = ofFamily(
  256,
  ['sourceIPv4Address', 'destinationIPv4Address'],
  ['postNATSourceIPv4Address', 'postNATDestinationIPv4Address'],
);
const IPV6_TEMPLATES = ofFamily(
  261,
  ['sourceIPv6Address', 'destinationIPv6Address'],
  ['postNATSourceIPv6Address', 'postNATDestinationIPv6Address'],
);

export const PORT_NAMES: Template = { id: 266, scopes: 1, fields: ['ingressInterface', 'interfaceName'] };
export const SPACE_NAMES: Template = { id: 267, scopes: 1, fields: ['ingressVRFID', 'VRFname'] };

/** All templates, in the order of their ids. */
export const TEMPLATES: readonly Template[] = [...IPV4_TEMPLATES, ...IPV6_TEMPLATES, PORT_NAMES, SPACE_NAMES];

/** The template for an event. */
export function templateOf(
  family: number,
  kind: 'start' | 'end' | 'refused',
  isTranslated: boolean,
): Template {
  const templates = family === 4 ? IPV4_TEMPLATES : IPV6_TEMPLATES;
  if (kind === 'refused') return templates[4]!;
  return templates[(kind === 'end' ? 2 : 0) + (isTranslated ? 1 : 0)]!;
}
