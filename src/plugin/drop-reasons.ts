/**
 * Every reason for which a packet is dropped: a closed list. Each has a number (its index; a counter per port
 * stands in flow memory at that place), a name (metrics, logs, CLI) and one sentence (docs/drop-reasons.md is
 * checked against this list). Append only: numbers are stored.
 */
const reasons = [
  ['none', 'Not dropped.'],
  // decode
  ['malformed', 'The packet is truncated or its header fields contradict each other.'],
  ['bad_ip_checksum', 'The IPv4 header checksum is wrong.'],
  ['ip_options', 'The packet carries a source route or another option that the gateway refuses.'],
  [
    'bad_source',
    "The source address cannot be a sender (multicast, loopback, unspecified, broadcast), or not one there: it is the gateway's own; or a site's, and comes from an egress; or not the sender's, and would leave untranslated.",
  ],
  ['bad_destination', 'The destination is multicast, broadcast, loopback, link-local or unspecified.'],
  // fragments
  [
    'fragment_overlap',
    'A fragment overlaps another one of its datagram; the whole datagram is dropped (RFC 5722).',
  ],
  ['fragment_malformed', 'A fragment has an impossible length or offset.'],
  ['fragment_timeout', 'The datagram did not complete in time.'],
  ['fragment_limit', 'No room to reassemble: too many datagrams or bytes are waiting.'],
  // ports and encapsulation
  ['unknown_tunnel', 'Tunnel traffic that matches no configured tunnel (outer addresses, key, device).'],
  ['gre_malformed', 'A GRE header with unknown version, reserved bits or a truncated option.'],
  ['gre_checksum', 'The GRE checksum is wrong.'],
  ['gre_sequence', 'The GRE sequence number is older than one already delivered (RFC 2890).'],
  ['gre_protocol', 'The GRE payload is neither IPv4 nor IPv6.'],
  ['foreign_frame', 'An Ethernet frame with a VLAN tag, or for another MAC.'],
  ['port_down', 'The port a packet would leave by is down, disabled or gone.'],
  ['neighbor_unresolved', 'The next hop or neighbour did not answer ARP or neighbour discovery.'],
  ['neighbor_queue', 'Too many packets wait for a neighbour to answer, or this one is too long to wait.'],
  ['output_full', 'No room in the output list, or the device does not take more packets.'],
  ['memory_full', 'No packet memory left for a copy.'],
  // flow lookup and creation
  ['no_flow', 'No flow matches, and this packet may not start one.'],
  ['no_pin', 'A reply of a flow that has no tunnel to go back by.'],
  ['unvouched', 'A reply of a flow from before a restart, whose originator has not been seen since.'],
  ['table_full', 'The flow table is full.'],
  ['tunnel_share', 'The tunnel has used up its share of the flow table.'],
  ['tunnel_rate', 'The tunnel creates flows faster than its budget.'],
  ['source_rate', 'The source address creates flows faster than its budget.'],
  // routing
  ['no_route', 'No route towards the destination.'],
  ['ambiguous_destination', 'Two sites declare the destination and no route names one of them.'],
  ['own_site_destination', "The destination is inside the sender's own site."],
  ['private_destination', 'A private destination that no site declares; it never falls to the internet.'],
  ['gateway_destination', "The destination is one of the gateway's own addresses or a tunnel endpoint."],
  ['forbidden_protocol', 'A tunnel protocol (4, 41, 47, 50, 51) or IKE towards a tunnel endpoint.'],
  // plugins
  ['policy', 'A plugin decided to drop.'],
  ['policy_reject', 'A plugin decided to reject; the sender was told.'],
  ['plugin_failed', 'A plugin failed and its failure policy is closed.'],
  ['verdict_unsupported', 'A plugin answered with a verdict that this hook does not have.'],
  // translation
  ['translation_ports', 'No external port is free for this site.'],
  ['translation_quota', 'The site has used up its quota of external ports.'],
  ['translation_protocol', 'The protocol cannot be translated on this egress.'],
  [
    'tuple_collision',
    'Another site uses the same tuple towards this destination and the protocol has no port to change.',
  ],
  ['translation_family', 'The egress has no address of this family.'],
  // protocol state
  ['tcp_state', 'A TCP segment that does not fit the state of its flow.'],
  ['tcp_window', 'A TCP segment outside the window (RFC 9293, 3.10.7.4).'],
  ['tcp_reset', 'A TCP reset that does not match the expected sequence number (RFC 5961, 3).'],
  ['icmp_quote', 'An ICMP error that quotes no flow of the space it came from, or a sequence never sent.'],
  ['icmp_type', 'An ICMP message that is never forwarded (redirects, neighbour discovery, unknown types).'],
  // forwarding
  ['ttl_expired', 'TTL or hop limit reached zero.'],
  ['too_big', 'The packet exceeds the MTU of its egress and may not be fragmented.'],
  ['local_delivery', 'Addressed to the gateway itself, which answers only ping there.'],
  ['unsupported_segmentation', 'A GSO packet of a kind that cannot be forwarded.'],
  // flow creation again: numbers are stored
  ['site_share', 'What is left of the flow table is kept for other sites.'],
  // streams that plugins read
  ['tcp_checksum', 'The TCP checksum of a segment whose bytes plugins read is wrong.'],
  [
    'stream_memory',
    'No room to remember or to hold back the bytes of a stream that plugins read; its sender sends them again.',
  ],
  ['stream_gap', 'A segment was held back for what should come before it, and that did not come in time.'],
  ['stream_undecided', 'A plugin that reads a stream did not decide in time, or not on so many bytes.'],
  ['stream_lost', 'What plugins have read of the stream is not known any more, as after a restart.'],
  // held flows
  [
    'held',
    'A plugin has not decided on the flow yet, and holds another packet of it. Or the one that it held: routes or plugins are others by now.',
  ],
  // flows that plugins divert
  ['diversion_down', 'The proxy that a plugin hands the flow to is not there, or not ready.'],
  [
    'diversion_refused',
    'A plugin diverts what its proxy cannot get: another protocol than it listens for, or what no site has begun.',
  ],
  [
    'diversion_source',
    'Out of a diversion: neither an answer of its proxy, nor from the address that stands for a site.',
  ],
] as const;

export type DropReasonName = (typeof reasons)[number][0];

/** Names by number. */
export const DROP_REASON_NAMES: readonly DropReasonName[] = reasons.map(([name]) => name);
/** One sentence each, by number. */
export const DROP_REASON_TEXTS: readonly string[] = reasons.map(([, text]) => text);

/** Numbers by name: `DROP.no_flow`. */
export const DROP = Object.freeze(
  Object.fromEntries(reasons.map(([name], number) => [name, number])),
) as Readonly<Record<DropReasonName, number>>;
