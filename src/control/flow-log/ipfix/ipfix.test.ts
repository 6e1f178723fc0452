/** IPFIX as Wireshark reads it: every field of every template, sizes, sequence numbers. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import fc from 'fast-check';
import { EVENT_TIME_MS, eventNames, flowEvent, flowEvent6 } from '../../../../test/fixtures/flow-events.ts';
import { dissect } from '../../../../test/support/dissected.ts';
import { PcapWriter } from '../../../device/pcap.ts';
import { END } from '../../../flow/flow-event-layout.ts';
import { buildPacket } from '../../../wire/build.ts';
import type { FlowEvent } from '../flow-event.ts';
import { type Message, MessageWriter } from './message.ts';
import { eventRecord, nameRecord } from './records.ts';
import { FIELDS, PORT_NAMES, SPACE_NAMES, TEMPLATES, VARIABLE } from './templates.ts';

const LINK_TYPE_RAW = 101;
const NAMES = eventNames();

/** Messages as a capture of datagrams to the collector's port. */
function capture(t: TestContext, messages: readonly Message[]): string {
  const folder = mkdtempSync(join(tmpdir(), 'homeward-test-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const parts: Uint8Array[] = [];
  const pcap = new PcapWriter((part) => parts.push(part), { linkType: LINK_TYPE_RAW });
  for (const { bytes } of messages) {
    const transport = { kind: 'udp', sourcePort: 4000, destinationPort: 4739, payload: bytes } as const;
    pcap.write({
      timestampNs: BigInt(EVENT_TIME_MS) * 1_000_000n,
      data: buildPacket({ source: '192.0.2.1', destination: '192.0.2.50', transport }),
    });
  }
  const path = join(folder, 'ipfix.pcap');
  writeFileSync(path, Buffer.concat(parts));
  return path;
}

/** One message with templates, then one for each event. */
function messagesOf(events: readonly FlowEvent[]): Message[] {
  const writer = new MessageWriter(9, 1400);
  writer.addTemplates(TEMPLATES, EVENT_TIME_MS);
  const messages = writer.take(EVENT_TIME_MS);
  for (const event of events) {
    writer.addRecord(eventRecord(event, NAMES), EVENT_TIME_MS);
    messages.push(...writer.take(EVENT_TIME_MS));
  }
  return messages;
}

const COLUMNS = [
  'cflow.flowset_id',
  'cflow.od_id',
  'cflow.sequence',
  'cflow.observation_time_milliseconds',
  'cflow.firewall_event',
  'cflow.nat_event',
  'cflow.protocol',
  'cflow.inputint',
  'cflow.outputint',
  'cflow.ingress_vrfid',
  'cflow.egress_vrfid',
  'cflow.flow_id',
  'cflow.srcaddr',
  'cflow.dstaddr',
  'cflow.srcaddrv6',
  'cflow.dstaddrv6',
  'cflow.srcport',
  'cflow.dstport',
  'cflow.post_natsource_ipv4_address',
  'cflow.post_natdestination_ipv4_address',
  'cflow.post_nat_source_ipv6_address',
  'cflow.post_nat_destination_ipv6_address',
  'cflow.post_naptsource_transport_port',
  'cflow.post_naptdestination_transport_port',
  'cflow.nat_originating_address_realm',
  'cflow.flow_end_reason',
  'cflow.packets',
  'cflow.octets',
] as const;

describe('IPFIX', () => {
  it('is read by others as it was meant', (t) => {
    const events = [
      flowEvent(),
      flowEvent({ kind: 'start', reason: 0 }),
      flowEvent({ isTranslated: false, reason: END.closed }),
      flowEvent({ isTranslated: false, kind: 'start' }),
      flowEvent({
        kind: 'refused',
        isTranslated: false,
        translated: undefined,
        flow: 0,
        toSpace: 0,
        egress: 0,
      }),
      flowEvent6({ reason: END.flushed, fromSpace: 3, toSpace: 1 }),
      flowEvent6({ kind: 'start' }),
      flowEvent6({ isTranslated: false }),
    ];
    const rows = dissect(capture(t, messagesOf(events)), 'cflow.flowset_id >= 256', COLUMNS);
    assert.equal(rows.length, events.length);
    const templates = [259, 257, 258, 256, 260, 264, 262, 263];
    const firewallEvents = { start: '1', end: '2', refused: '3' };
    rows.forEach((row, at) => {
      const event = events[at]!;
      const isEnd = event.kind === 'end';
      const isFlow = event.kind !== 'refused';
      const v4 = event.family === 4;
      const natEvents = isEnd ? ['5', '2'] : ['4', '1'];
      const only = (condition: boolean, ...values: string[]) => (condition ? values : []);
      assert.deepEqual(row, {
        'cflow.flowset_id': [String(templates[at])],
        'cflow.od_id': ['9'],
        'cflow.sequence': [String(at)],
        'cflow.observation_time_milliseconds': row['cflow.observation_time_milliseconds'],
        'cflow.firewall_event': [firewallEvents[event.kind]],
        'cflow.nat_event': only(event.isTranslated, natEvents[v4 ? 0 : 1]!),
        'cflow.protocol': ['6'],
        'cflow.inputint': ['2'],
        'cflow.outputint': only(isFlow, '3'),
        'cflow.ingress_vrfid': [String(event.fromSpace)],
        'cflow.egress_vrfid': only(isFlow, String(event.toSpace)),
        'cflow.flow_id': only(isFlow, '4000000000'),
        'cflow.srcaddr': only(v4, '10.0.1.5'),
        'cflow.dstaddr': only(v4, '198.51.100.7'),
        'cflow.srcaddrv6': only(!v4, 'fd00:1::5'),
        'cflow.dstaddrv6': only(!v4, '2001:db8::7'),
        'cflow.srcport': ['40000'],
        'cflow.dstport': ['443'],
        'cflow.post_natsource_ipv4_address': only(v4 && event.isTranslated, '203.0.113.1'),
        'cflow.post_natdestination_ipv4_address': only(v4 && event.isTranslated, '198.51.100.7'),
        'cflow.post_nat_source_ipv6_address': only(!v4 && event.isTranslated, '2001:db8:ffff::1'),
        'cflow.post_nat_destination_ipv6_address': only(!v4 && event.isTranslated, '2001:db8::7'),
        'cflow.post_naptsource_transport_port': only(event.isTranslated, '61000'),
        'cflow.post_naptdestination_transport_port': only(event.isTranslated, '443'),
        'cflow.nat_originating_address_realm': only(event.isTranslated, event.fromSpace === 3 ? '2' : '1'),
        'cflow.flow_end_reason': only(isEnd, endReason(event.reason)),
        'cflow.packets': only(isEnd, '5', String(2 ** 33)),
        'cflow.octets': only(isEnd, '500', String(2 ** 45 + 1)),
      });
      assert.match(row['cflow.observation_time_milliseconds'].join(), /Jan\s+1, 2026 00:00:00\.123/);
    });
  });

  it('names ports and spaces', (t) => {
    const writer = new MessageWriter(9, 1400);
    writer.addTemplates(TEMPLATES, EVENT_TIME_MS);
    for (const [port, name] of NAMES.ports()) writer.addRecord(nameRecord(PORT_NAMES, port, name), 0);
    for (const [space, name] of NAMES.spaces()) writer.addRecord(nameRecord(SPACE_NAMES, space, name), 0);
    const [row] = dissect(capture(t, writer.take(0)), 'cflow', ['cflow.if_name', 'cflow.vrfname']);
    assert.deepEqual(row, {
      'cflow.if_name': ['paris', 'lyon', 'internet'],
      'cflow.vrfname': ['paris', 'lyon', 'internet'],
    });
  });

  it('has templates of one id each, whose records are as long as they say', () => {
    assert.equal(new Set(TEMPLATES.map(({ id }) => id)).size, TEMPLATES.length);
    for (const make of [flowEvent, flowEvent6]) {
      for (const kind of ['start', 'end', 'refused'] as const) {
        for (const isTranslated of [false, true]) {
          const { template, bytes } = eventRecord(make({ kind, isTranslated }), NAMES);
          assert.equal(
            bytes.length,
            template.fields.reduce((sum, name) => sum + FIELDS[name].bytes, 0),
          );
          assert.ok(template.fields.every((name) => FIELDS[name].bytes !== VARIABLE));
        }
      }
    }
  });

  it('keeps to the size of a message, and counts data records', () => {
    const makers = [
      () => flowEvent(),
      () => flowEvent6({ kind: 'start' }),
      () => flowEvent({ kind: 'refused', isTranslated: false }),
    ];
    fc.assert(
      fc.property(
        fc.integer({ min: 512, max: 70_000 }),
        fc.array(fc.nat(2), { minLength: 1, maxLength: 300 }),
        (maxBytes, choices) => {
          const writer = new MessageWriter(1, maxBytes);
          writer.addTemplates(TEMPLATES, EVENT_TIME_MS);
          let records = 0;
          let sequence = 0;
          for (const choice of choices) {
            writer.addRecord(eventRecord(makers[choice]!(), NAMES), EVENT_TIME_MS);
            records++;
          }
          for (const message of writer.take(EVENT_TIME_MS)) {
            const { bytes } = message;
            assert.ok(bytes.length <= Math.min(maxBytes, 65535));
            assert.deepEqual(
              [bytes.readUInt16BE(0), bytes.readUInt16BE(2), bytes.readUInt32BE(4), bytes.readUInt32BE(8)],
              [10, bytes.length, Math.floor(EVENT_TIME_MS / 1000), sequence],
            );
            let at = 16;
            while (at < bytes.length) at += bytes.readUInt16BE(at + 2);
            assert.equal(at, bytes.length, 'sets fill the message');
            sequence += message.records;
          }
          assert.equal(sequence, records);
        },
      ),
      { seed: 20260303, numRuns: 60 },
    );
  });
});

function endReason(reason: number): string {
  if (reason === END.timed_out) return '1';
  return reason === END.closed ? '3' : '4';
}
