/**
 * Flow events as JSON lines: one object a line, members as in the API's flow listing (docs/flow-logs.md).
 */
import { END_REASON_NAMES } from '../../flow/flow-event-layout.ts';
import { DROP_REASON_NAMES } from '../../plugin/drop-reasons.ts';
import { formatAddressWords } from '../../wire/address.ts';
import { protocolName } from '../flows/protocols.ts';
import type { EventTuple, FlowEvent } from './flow-event.ts';
import type { FlowLogNames } from './names.ts';

/** The line of an event, its line feed included. */
export function jsonLine(event: FlowEvent, names: FlowLogNames): string {
  return `${JSON.stringify(described(event, names))}\n`;
}

function described(event: FlowEvent, names: FlowLogNames): Record<string, unknown> {
  const common = {
    time: new Date(event.timeMs).toISOString(),
    event: event.kind,
    number: event.number,
    site: names.site(event.fromSpace, event.toSpace),
    protocol: protocolName(event.protocol),
    from: names.space(event.fromSpace),
    ingress: names.port(event.ingress),
    original: tuple(event.original, event.family),
  };
  if (event.kind === 'refused') {
    return {
      ...common,
      reason: DROP_REASON_NAMES[event.reason] ?? `reason ${event.reason}`,
      refusedBy: names.plugin(event.decider),
      suppressed: event.suppressed,
    };
  }
  const flow = {
    ...common,
    flow: event.flow,
    to: names.space(event.toSpace),
    egress: names.port(event.egress),
    pin: names.port(event.pin),
    translated: event.isTranslated ? tuple(event.translated!, event.family) : null,
    acceptedBy: names.plugin(event.decider),
  };
  if (event.kind === 'start') return flow;
  return {
    ...flow,
    started: new Date(event.startedMs).toISOString(),
    reason: END_REASON_NAMES[event.reason] ?? `reason ${event.reason}`,
    answered: event.answered,
    originator: { packets: event.packetsOriginator, bytes: event.bytesOriginator },
    reply: { packets: event.packetsReply, bytes: event.bytesReply },
  };
}

function tuple({ source, sourcePort, destination, destinationPort }: EventTuple, family: number) {
  return {
    source: text(source, family),
    sourcePort,
    destination: text(destination, family),
    destinationPort,
  };
}

function text(words: Int32Array, family: number): string {
  return formatAddressWords(family, words[0]!, words[1]!, words[2]!, words[3]!);
}
