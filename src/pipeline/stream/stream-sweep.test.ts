import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { tcp } from '../../../test/support/packets.ts';
import { STREAM_PASS } from '../../plugin/contract.ts';
import { DROP } from '../../plugin/drop-reasons.ts';
import { buildPacket } from '../../wire/build.ts';
import { decode } from '../../wire/decode.ts';
import { FrameMemory } from '../../wire/frame.ts';
import { PacketView, TCP_SYN } from '../../wire/packet.ts';
import { FLAGS, JUDGED, NEXT, OPEN, PROGRESS } from './stream-layout.ts';
import { STREAM_PAGE_BYTES } from './stream-pages.ts';
import { StreamShow } from './stream-readers.ts';
import { STALLED_MS, StreamSweep } from './stream-sweep.ts';
import { MIN_STREAM_BYTES, StreamTable } from './stream-table.ts';
import { Streams } from './streams.ts';

const NOW_MS = 5_000_000;

/** Streams of two spaces, each with one page, in so many pages of all; those of record 0 make progress. */
function filled(share: number): { ended: [number, number][]; sweep: StreamSweep; table: StreamTable } {
  const memory = new FrameMemory(new ArrayBuffer(MIN_STREAM_BYTES));
  const table = new StreamTable(memory, 1024, 0, MIN_STREAM_BYTES);
  const shows = new StreamShow(memory, table, 0, { read: () => STREAM_PASS, failed: () => 0 });
  const ended: [number, number][] = [];
  const sweep = new StreamSweep(
    table,
    shows,
    {
      describeFlow: () => assert.fail('nothing is held for a plugin'),
      release: () => assert.fail('nothing is held'),
      endStream: (record, _direction, reason) => {
        ended.push([record, reason]);
        table.close(record);
      },
      dropHeld: () => assert.fail('nothing is held'),
    },
    NOW_MS,
  );
  const pages = Math.floor(table.pages.capacity * share);
  for (let record = 0; record < pages; record++) {
    const slot = table.open(record, 1 + (record & 1));
    const at = table.blockOf(slot, 0);
    assert.ok(table.pages.write(at, table.spaceOf(slot), 0, 0, STREAM_PAGE_BYTES, false));
    table.words[at + FLAGS] = OPEN;
    table.words[at + NEXT] = STREAM_PAGE_BYTES;
    table.words[at + JUDGED] = STREAM_PAGE_BYTES;
    table.words[at + PROGRESS] = record === 0 ? NOW_MS + STALLED_MS : NOW_MS;
  }
  return { ended, sweep, table };
}

describe('streams that nobody acknowledges', () => {
  it('stay while there is memory', () => {
    const { ended, sweep } = filled(0.7);
    sweep.sweep(NOW_MS + STALLED_MS + 2000);
    assert.deepEqual(ended, []);
  });

  it('end when it runs short, until it does no more; not those that make progress', () => {
    const { ended, sweep, table } = filled(0.9);
    sweep.sweep(NOW_MS + STALLED_MS + 2000);
    assert.ok(ended.length > 0);
    assert.ok(ended.every(([record, reason]) => record !== 0 && reason === DROP.stream_memory));
    assert.equal(table.pages.used, Math.floor((table.pages.capacity * 3) / 4));
  });

  it('have the same time from their beginning, though nothing of them was delivered yet', () => {
    const { ended, sweep, table } = filled(0.9);
    const memory = new FrameMemory(new ArrayBuffer(1024));
    const packet = buildPacket(tcp('10.0.1.7 1', '198.51.100.80 443', TCP_SYN, { sequence: 99 }));
    memory.bytes.set(packet);
    const syn = new PacketView(memory);
    assert.equal(decode(syn, 0, packet.length), 0);
    const shows = new StreamShow(memory, table, 0, { read: () => STREAM_PASS, failed: () => 0 });
    const streams = new Streams(table, shows, new Int32Array(0));
    assert.equal(streams.open(1000, 3, new Int32Array(32).fill(-1), syn, NOW_MS), 0);
    const at = table.blockOf(table.slotOf(1000), 0);
    assert.ok(table.pages.write(at, 3, 4096, 0, 1, true));
    sweep.sweep(NOW_MS + 2000);
    assert.deepEqual(ended, []);
  });

  it('get no more than half of the pages for one space, and a quarter for what came early', () => {
    const memory = new FrameMemory(new ArrayBuffer(MIN_STREAM_BYTES));
    const table = new StreamTable(memory, 4, 0, MIN_STREAM_BYTES);
    const { pages } = table;
    const at = table.blockOf(table.open(0, 1), 0);
    const other = table.blockOf(table.open(1, 2), 0);
    let count = 0;
    const write = (block: number, space: number, isEarly: boolean): number => {
      const before = count;
      while (pages.write(block, space, count * STREAM_PAGE_BYTES, 0, 1, isEarly)) count++;
      return count - before;
    };
    assert.equal(write(at, 1, true), pages.capacity >>> 2);
    write(at, 1, false);
    assert.equal(pages.usedBy(1), pages.capacity >>> 1);
    assert.ok(write(other, 2, false) > 0);
    table.close(0);
    table.close(1);
    assert.deepEqual([pages.used, pages.usedBy(1), pages.usedBy(2)], [0, 0, 0]);
  });

  it('leave every site what it is owed, of pages, slots and places', () => {
    const memory = new FrameMemory(new ArrayBuffer(MIN_STREAM_BYTES));
    const table = new StreamTable(memory, 60, 0, MIN_STREAM_BYTES);
    table.divide([1, 2, 3]);
    const slots = [1, 2, 3].map((space) => {
      let count = 0;
      while (table.open(space * 100 + count, space) >= 0) count++;
      return count;
    });
    assert.deepEqual(slots, [40, 10, 10]);
    const view = new PacketView(memory);
    const { pages, held } = table;
    for (const space of [1, 2, 3]) {
      for (let flow = 0; flow < slots[space - 1]!; flow++) {
        const at = table.blockOf(table.slotOf(space * 100 + flow), 0);
        for (let page = 0; page < 60; page++) pages.write(at, space, page * STREAM_PAGE_BYTES, 0, 1, false);
        for (let number = 0; held.hasRoom(at, space, view, false); number++)
          held.insert(at, space, number, number + 1, view, 1, 0);
      }
    }
    for (const { shares, capacity } of [pages, held]) {
      const owed = Math.floor(capacity / 6);
      assert.equal(shares.usedBy(1), capacity >>> 1);
      assert.equal(shares.usedBy(2), capacity - (capacity >>> 1) - owed);
      assert.equal(shares.usedBy(3), owed);
    }
  });
});
