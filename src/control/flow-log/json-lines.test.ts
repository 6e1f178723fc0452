import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EVENT_TIME_MS, eventNames, flowEvent, flowEvent6 } from '../../../test/fixtures/flow-events.ts';
import { DROP } from '../../plugin/drop-reasons.ts';
import { jsonLine } from './json-lines.ts';

const NAMES = eventNames();
const COMMON = {
  time: new Date(EVENT_TIME_MS).toISOString(),
  number: 7,
  site: 'lyon',
  protocol: 'tcp',
  from: 'lyon',
  ingress: 'lyon',
  original: { source: '10.0.1.5', sourcePort: 40000, destination: '198.51.100.7', destinationPort: 443 },
};
const FLOW = {
  flow: 4_000_000_000,
  to: 'internet',
  egress: 'internet',
  pin: 'lyon',
  translated: { source: '203.0.113.1', sourcePort: 61000, destination: '198.51.100.7', destinationPort: 443 },
  acceptedBy: 'firewall',
};

test('the end of a flow', () => {
  const line = jsonLine(flowEvent(), NAMES);
  assert.ok(line.endsWith('}\n'));
  assert.equal(line.indexOf('\n'), line.length - 1);
  assert.deepEqual(JSON.parse(line), {
    ...COMMON,
    event: 'end',
    ...FLOW,
    started: '2025-12-31T23:59:55.000Z',
    reason: 'timed_out',
    answered: true,
    originator: { packets: 5, bytes: 500 },
    reply: { packets: 2 ** 33, bytes: 2 ** 45 + 1 },
  });
});

test('the beginning of a flow, translated and not', () => {
  const start = flowEvent({ kind: 'start', reason: 0, decider: 0 });
  assert.deepEqual(JSON.parse(jsonLine(start, NAMES)), {
    ...COMMON,
    event: 'start',
    ...FLOW,
    acceptedBy: null,
  });
  const plain = JSON.parse(jsonLine(flowEvent6({ kind: 'start', isTranslated: false }), NAMES));
  assert.equal(plain.translated, null);
  assert.equal(plain.original.source, 'fd00:1::5');
});

test('a refusal', () => {
  const refused = flowEvent({
    kind: 'refused',
    reason: DROP.policy_reject,
    suppressed: 12,
    toSpace: 0,
    egress: 0,
    pin: 0,
    translated: undefined,
    isTranslated: false,
  });
  assert.deepEqual(JSON.parse(jsonLine(refused, NAMES)), {
    ...COMMON,
    event: 'refused',
    reason: 'policy_reject',
    refusedBy: 'firewall',
    suppressed: 12,
  });
});

test('a port forward belongs to the site that it leads to; what nobody can name keeps its number', () => {
  const inbound = JSON.parse(jsonLine(flowEvent({ fromSpace: 3, toSpace: 1 }), NAMES));
  assert.deepEqual([inbound.site, inbound.from, inbound.to], ['paris', 'internet', 'paris']);
  const unknown = JSON.parse(
    jsonLine(flowEvent({ ingress: (2 << 16) | 2, fromSpace: 77, protocol: 132, decider: 9 }), NAMES),
  );
  assert.deepEqual(
    [unknown.ingress, unknown.from, unknown.protocol, unknown.acceptedBy],
    ['port 2', 'space 77', 'sctp', 'plugin 9'],
  );
});
