/** A flow memory of another size takes over the flows, external ports and holds of the one before. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { carryOver, roomyOptions } from '../../src/flow/carry-over.ts';
import { FlowMemory, type FlowMemoryOptions, flowMemoryBytes } from '../../src/flow/flow-memory.ts';
import { heldTupleWords } from '../../src/flow/held-tuples.ts';
import { translationWords } from '../../src/flow/translation-layout.ts';
import { MemoryGateway, type MemoryGatewayOptions } from '../support/memory-gateway.ts';
import { udp } from '../support/packets.ts';

const HOST = '10.0.1.10';
const SERVER = '203.0.113.10';
const PRIVATE_SERVER = '10.50.0.10';
const EXTERNAL = '198.51.100.1';

const lab: MemoryGatewayOptions = {
  sites: [
    { name: 'paris', prefixes: ['10.0.1.0/24'] },
    { name: 'lyon', prefixes: ['10.0.1.0/24'] },
    { name: 'datacenter', prefixes: ['10.50.0.0/16'] },
  ],
  egress: [{ name: 'internet', pools: [{ address: EXTERNAL }] }],
  maxFlows: 64,
};

/** The gateway, started again with a flow memory for so many flows and chunks of external ports. */
function restarted(before: MemoryGateway, capacity: number, chunks: number): [MemoryGateway, number] {
  before.pass(0);
  const found = FlowMemory.open(before.buffer);
  assert.ok(found.usable);
  const planned: FlowMemoryOptions = {
    capacity,
    translationBytes: translationWords(chunks) * 4,
    heldTupleBytes: heldTupleWords(capacity) * 4,
    bootId: '00000000-0000-4000-8000-000000000000',
  };
  const options = roomyOptions(planned, found.memory);
  const buffer = new ArrayBuffer(flowMemoryBytes(options));
  const ended = carryOver(found.memory, FlowMemory.create(buffer, options), before.nowMs);
  return [new MemoryGateway({ ...lab, memory: buffer, nowMs: before.nowMs + 500 }), ended];
}

const OPEN = udp(`${HOST} 7000`, `${PRIVATE_SERVER} 53`);

for (const [what, capacity, chunks] of [
  ['larger', 4096, 300],
  ['smaller', 16, 1],
] as const) {
  describe(`a flow memory that is ${what} than the one before`, () => {
    it('keeps flows and their external ports', () => {
      const before = new MemoryGateway(lab);
      const sent = ['paris', 'lyon'].flatMap((site) => before.send(site, udp(`${HOST} 1`, `${SERVER} 53`)));
      before.send('paris', OPEN);
      const [after, ended] = restarted(before, capacity, chunks);
      assert.deepEqual([ended, after.flows], [0, 3]);
      for (const [i, site] of ['paris', 'lyon'].entries()) {
        const reply = udp(`${SERVER} 53`, `${EXTERNAL} ${sent[i].sourcePort}`, site);
        assert.equal(after.send('internet', reply)[0].port, site);
      }
      assert.equal(after.send('datacenter', udp(`${PRIVATE_SERVER} 53`, `${HOST} 7000`))[0].port, 'paris');
      assert.deepEqual(after.assembly.state.table.verify(), []);
    });

    it('keeps what is held', () => {
      const before = new MemoryGateway(lab);
      const tuples = Array.from({ length: 20 }, (_, i) => udp(`${HOST} ${7000 + i}`, `${PRIVATE_SERVER} 53`));
      for (const tuple of tuples) before.send('paris', tuple);
      const [out] = before.send('paris', udp(`${HOST} 1`, `${SERVER} 53`));
      before.assembly.flush(() => true, before.nowMs);
      const [after] = restarted(before, capacity, chunks);
      assert.equal(after.flows, 0);
      for (const [i, tuple] of tuples.entries()) {
        const [moved] = after.send('lyon', tuple);
        // Refused, if it finds no tuple that is free for certain: never the one that is paris's.
        assert.notEqual(moved?.sourcePort, 7000 + i);
        if (i > 10) after.assembly.flush(() => true, after.nowMs);
      }
      assert.equal(after.send('paris', udp(`${HOST} 1`, `${SERVER} 53`))[0].sourcePort, out.sourcePort);
    });
  });
}

describe('a flow memory without room for all flows', () => {
  it('ends some, and keeps their tuples from other sites', () => {
    const before = new MemoryGateway(lab);
    for (let i = 0; i < 4; i++) before.send('paris', udp(`${HOST} ${7000 + i}`, `${PRIVATE_SERVER} 53`));
    const [after, ended] = restarted(before, 2, 1);
    assert.deepEqual([ended, after.flows], [2, 2]);
    after.assembly.flush(() => true, after.nowMs);
    for (let i = 0; i < 4; i++) {
      const [moved] = after.send('lyon', udp(`${HOST} ${7000 + i}`, `${PRIVATE_SERVER} 53`));
      assert.notEqual(moved?.sourcePort, 7000 + i);
      after.assembly.flush(() => true, after.nowMs);
    }
  });
});
