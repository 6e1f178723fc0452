/** Flows and explanations for people. */
import type { ExplanationBody } from '../api/schemas/explain.ts';
import type { FlowBody } from '../api/schemas/flows.ts';
import { durationText } from './duration.ts';
import { counted, shortNumber, table } from './table.ts';
import { paint } from './terminal.ts';

const HEADER = [
  'ID',
  'PROTO',
  'STATE',
  'SITE',
  'FROM',
  'TO',
  'SEEN AS',
  'PIN',
  'EGRESS',
  'PACKETS',
  'BYTES',
  'EXPIRES',
];

/** A row for each flow. */
export function flowTable(flows: readonly FlowBody[]): string {
  return table([HEADER, ...flows.map(flowRow)]);
}

function flowRow(flow: FlowBody): string[] {
  const { original, translated, originator, reply } = flow;
  return [
    String(flow.id),
    flow.protocol,
    flow.state,
    flow.site,
    endText(flow.protocol, original.source, original.sourcePort),
    endText(flow.protocol, original.destination, original.destinationPort),
    translated === null ? '-' : endText(flow.protocol, translated.source, translated.sourcePort),
    flow.pin,
    flow.egress,
    shortNumber(originator.packets + reply.packets),
    shortNumber(originator.bytes + reply.bytes),
    durationText(flow.expiresInMs),
  ];
}

/** One flow, a line for each thing to know. */
export function flowText(flow: FlowBody): string {
  const { protocol, original, translated, originator, reply, tcp } = flow;
  const state =
    tcp === null ? flow.state : `${flow.state} (originator ${tcp.originator}, responder ${tcp.reply})`;
  const tuple = ({ source, sourcePort, destination, destinationPort }: FlowBody['original']): string =>
    `${endText(protocol, source, sourcePort)} to ${endText(protocol, destination, destinationPort)}`;
  return table([
    ['flow', `${flow.id} of site ${flow.site}, ${protocol}`],
    ['state', flow.vouched ? state : `${state}; replies wait for the originator (restart)`],
    ['original', `${tuple(original)}, in ${flow.from}`],
    ['translated', translated === null ? `as it is, in ${flow.to}` : `${tuple(translated)}, in ${flow.to}`],
    ['comes in by', flow.ingress],
    ['leaves by', flow.egress],
    [
      'replies go to',
      flow.automaticReturnRouting ? `${flow.pin} (the pin)` : `${flow.pin} (routed within the site)`,
    ],
    ['plugins', pluginText(flow)],
    ['sent', `${counted(originator.packets, 'packet')}, ${shortNumber(originator.bytes)}B`],
    ['answered', `${counted(reply.packets, 'packet')}, ${shortNumber(reply.bytes)}B`],
    ['age', `${durationText(flow.ageMs)}, last packet ${durationText(flow.idleMs)} ago`],
    ['ends in', `${durationText(flow.expiresInMs)} without packets (${flow.timeout})`],
    ['plan', String(flow.planGeneration)],
  ]);
}

function pluginText({ acceptedBy, inspectedBy }: FlowBody): string {
  const accepted = acceptedBy === null ? 'none objected' : `accepted by ${acceptedBy}`;
  return inspectedBy.length === 0
    ? accepted
    : `${accepted}; its packets are shown to ${inspectedBy.join(', ')}`;
}

/** The steps of an explanation, and what comes of it. */
export function explanationText(explanation: ExplanationBody): string {
  const { steps, verdict, reason, egress, pin, to } = explanation;
  const rows = steps.map(({ stage, passes, text }) => [
    passes ? paint('green', 'ok') : paint('red', 'no'),
    stage.replaceAll('_', ' '),
    text,
  ]);
  const replies = pin === null ? '' : `; replies go to ${pin}`;
  const results = {
    forward: `goes to ${to}${egress === null ? '' : ` by ${egress}`}${replies}`,
    answer: 'is answered by the gateway itself',
    drop: `is dropped: ${reason}`,
    reject: `is rejected: ${reason}`,
  };
  return `${table(rows)}\n\n${paint('bold', `It ${results[verdict]}.`)}`;
}

/** `10.0.0.1:80`, `[2001:db8::1]:80`; of what has no port, the address. */
export function endText(protocol: string, address: string, port: number): string {
  if (protocol !== 'tcp' && protocol !== 'udp') return port === 0 ? address : `${address} id ${port}`;
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}
