/**
 * Flow events as IPFIX data records: the values of every field, in network byte order (RFC 7011, 6.1).
 *
 * | what happened | firewallEvent | natEvent, if translated |
 * | --- | --- | --- |
 * | a flow began | 1, created | 4, NAT44 session create; IPv6: 1, NAT translation create |
 * | a flow ended | 2, deleted | 5, NAT44 session delete; IPv6: 2, NAT translation delete |
 * | refused | 3, denied | |
 *
 * RFC 8158 has no events for IPv6 to IPv6; the older general ones say what happened all the same.
 */
import { END } from '../../../flow/flow-event-layout.ts';
import { swap32 } from '../../../wire/byte-order.ts';
import { IPV4 } from '../../../wire/packet.ts';
import type { EventTuple, FlowEvent } from '../flow-event.ts';
import type { FlowLogNames } from '../names.ts';
import { FIELDS, type Field, type FieldName, type Template, templateOf, VARIABLE } from './templates.ts';

const FIREWALL_EVENTS = { start: 1, end: 2, refused: 3 } as const;
/** By what a record's template says, IPv4 and IPv6. */
const NAT_EVENTS = { start: [4, 1], end: [5, 2], refused: [0, 0] } as const;
/** In front of an element's number: an enterprise number follows. */
const ENTERPRISE = 0x8000;
const REALM_INTERNAL = 1;
const REALM_EXTERNAL = 2;
const END_IDLE = 1;
const END_DETECTED = 3;
const END_FORCED = 4;
/** Longest text that has its length in one byte. */
const MAX_TEXT_BYTES = 254;

/** A record, and the template that it is of. */
export interface DataRecord {
  readonly template: Template;
  readonly bytes: Buffer;
}

/** The data record of an event. */
export function eventRecord(event: FlowEvent, names: FlowLogNames): DataRecord {
  const template = templateOf(event.family, event.kind, event.isTranslated);
  const bytes = Buffer.allocUnsafe(template.fields.reduce((length, name) => length + FIELDS[name].bytes, 0));
  let at = 0;
  for (const name of template.fields) {
    writeField(bytes, at, name, event, names);
    at += FIELDS[name].bytes;
  }
  return { template, bytes };
}

/** The record that gives a number its name: the template's first field is the number, its second the name. */
export function nameRecord(template: Template, number: number, name: string): DataRecord {
  const text = Buffer.from(name, 'utf8').subarray(0, MAX_TEXT_BYTES);
  const bytes = Buffer.allocUnsafe(4 + 1 + text.length);
  bytes.writeUInt32BE(number >>> 0, 0);
  bytes[4] = text.length;
  text.copy(bytes, 5);
  return { template, bytes };
}

/** A template as it is announced, without the header of its set. */
export function templateRecord(template: Template): Buffer {
  const { id, scopes, fields } = template;
  const head = scopes === 0 ? [id, fields.length] : [id, fields.length, scopes];
  const words = [...head, ...fields.flatMap((name) => specifier(FIELDS[name]))];
  const bytes = Buffer.allocUnsafe(words.length * 2);
  words.forEach((word, at) => {
    bytes.writeUInt16BE(word, at * 2);
  });
  return bytes;
}

/** Element and length; of another enterprise than IANA with its number behind (RFC 7011, 3.2). */
function specifier({ element, bytes, enterprise }: Field): number[] {
  if (enterprise === 0) return [element, bytes];
  return [element | ENTERPRISE, bytes, enterprise >>> 16, enterprise & 0xffff];
}

function writeField(bytes: Buffer, at: number, name: FieldName, event: FlowEvent, names: FlowLogNames): void {
  const value = FIELDS[name].bytes > 8 ? 0 : fieldValue(name, event, names);
  switch (FIELDS[name].bytes) {
    case 1:
      bytes.writeUInt8(value, at);
      return;
    case 2:
      bytes.writeUInt16BE(value, at);
      return;
    case 4:
      bytes.writeUInt32BE(value >>> 0, at);
      return;
    case 8:
      bytes.writeBigUInt64BE(BigInt(Math.max(0, Math.round(value))), at);
      return;
    case VARIABLE:
      throw new RangeError(`${name} is no field of an event`);
    default:
      writeIpv6(bytes, at, addressOf(name, event)!);
  }
}

/** The value of a field of at most 8 bytes. */
function fieldValue(name: FieldName, event: FlowEvent, names: FlowLogNames): number {
  const address = addressOf(name, event);
  if (address !== undefined) return swap32(address[3]!) >>> 0;
  switch (name) {
    case 'observationTimeMilliseconds':
    case 'flowEndMilliseconds':
      return event.timeMs;
    case 'flowStartMilliseconds':
      // To the second, of a flow that ends: never behind its end.
      return Math.min(event.startedMs, event.timeMs);
    case 'firewallEvent':
      return FIREWALL_EVENTS[event.kind];
    case 'natEvent':
      return NAT_EVENTS[event.kind][event.family === IPV4 ? 0 : 1];
    case 'natOriginatingAddressRealm':
      return names.isEgress(event.fromSpace) ? REALM_EXTERNAL : REALM_INTERNAL;
    case 'protocolIdentifier':
      return event.protocol;
    case 'ingressInterface':
      return event.ingress & 0xffff;
    case 'egressInterface':
      return event.egress & 0xffff;
    case 'ingressVRFID':
      return event.fromSpace;
    case 'egressVRFID':
      return event.toSpace;
    case 'flowId':
      return event.flow;
    case 'sourceTransportPort':
      return event.original.sourcePort;
    case 'destinationTransportPort':
      return event.original.destinationPort;
    case 'postNAPTSourceTransportPort':
      return translated(event).sourcePort;
    case 'postNAPTDestinationTransportPort':
      return translated(event).destinationPort;
    case 'flowEndReason':
      return endReason(event.reason);
    case 'packetDeltaCount':
      return event.packetsOriginator;
    case 'octetDeltaCount':
      return event.bytesOriginator;
    case 'reversePacketDeltaCount':
      return event.packetsReply;
    case 'reverseOctetDeltaCount':
      return event.bytesReply;
    default:
      return 0;
  }
}

/** The words of an address field; undefined for all others. */
function addressOf(name: FieldName, event: FlowEvent): Int32Array | undefined {
  switch (name) {
    case 'sourceIPv4Address':
    case 'sourceIPv6Address':
      return event.original.source;
    case 'destinationIPv4Address':
    case 'destinationIPv6Address':
      return event.original.destination;
    case 'postNATSourceIPv4Address':
    case 'postNATSourceIPv6Address':
      return translated(event).source;
    case 'postNATDestinationIPv4Address':
    case 'postNATDestinationIPv6Address':
      return translated(event).destination;
    default:
      return undefined;
  }
}

function translated(event: FlowEvent): EventTuple {
  return event.translated ?? event.original;
}

function endReason(reason: number): number {
  if (reason === END.timed_out) return END_IDLE;
  return reason === END.closed || reason === END.reopened ? END_DETECTED : END_FORCED;
}

function writeIpv6(bytes: Buffer, at: number, address: Int32Array): void {
  for (let word = 0; word < 4; word++) bytes.writeInt32LE(address[word]!, at + word * 4);
}
