import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { pattern, StreamConnection, streamGateway } from '../../../test/support/stream-gateway.ts';
import {
  FOLLOWS_MORE,
  FOLLOWS_NO_ROOM,
  STREAM_DONE,
  STREAM_NEED_MORE,
  STREAM_PASS,
  STREAM_WHOLE,
  VERDICT_CONTINUE,
} from '../../plugin/contract.ts';
import { DROP } from '../../plugin/drop-reasons.ts';
import { FrameMemory } from '../../wire/frame.ts';
import { LiveFlow } from '../plugin-link.ts';
import { FLAGS, NEXT, OPEN, READERS, UNLIMITED } from './stream-layout.ts';
import { GATHER_BYTES, GATHERED, StreamShow } from './stream-readers.ts';
import { MIN_STREAM_BYTES, StreamTable } from './stream-table.ts';

/** The longest payload of an IPv4 packet with a TCP header. */
const LONGEST = 65_495;
const SENTINEL = 0xa5;

/** A stream of `bytes` bytes that have come, and which the plugins at the places in `readers` have not decided on. */
function undecided(readers: number, bytes: number) {
  const memory = new FrameMemory(new ArrayBuffer(MIN_STREAM_BYTES + GATHER_BYTES + 65_536));
  const table = new StreamTable(memory, 4, 0, MIN_STREAM_BYTES);
  const at = table.blockOf(table.open(0, 1), 0);
  memory.bytes.fill(SENTINEL, MIN_STREAM_BYTES + GATHER_BYTES);
  for (let from = 0; from < bytes; from += LONGEST) {
    const length = Math.min(LONGEST, bytes - from);
    assert.ok(table.pages.write(at, 1, from, MIN_STREAM_BYTES, length, false));
  }
  table.words[at + FLAGS] = OPEN;
  table.words[at + NEXT] = bytes;
  table.words[at + READERS] = readers;
  table.words[at + UNLIMITED] = readers;
  const shows = (read: (plugin: number, length: number) => number): StreamShow =>
    new StreamShow(memory, table, MIN_STREAM_BYTES, {
      read: (plugin, _flow, _bytes, _offset, length) => read(plugin, length),
      failed: () => 0,
    });
  return { memory, table, at, shows };
}

describe('what is gathered to be shown', () => {
  it('stays in its place, with segments as long as there are', () => {
    const shown: [number, number, number][] = [];
    let memory: Uint8Array = new Uint8Array();
    const gateway = streamGateway([
      {
        name: 'reader',
        phase: 'policy',
        half: {
          flowSetup: (_packet, flow) => {
            flow.streamOriginator = STREAM_WHOLE;
            return VERDICT_CONTINUE;
          },
          stream: (_flow, bytes, offset, length, follows) => {
            memory = bytes;
            shown.push([offset, length, follows]);
            return follows === FOLLOWS_MORE ? STREAM_NEED_MORE : STREAM_PASS;
          },
        },
      },
    ]);
    const connection = new StreamConnection(gateway);
    connection.open();
    connection.send(0, 0, { payload: pattern(0, 20) });
    connection.send(0, 20, { payload: pattern(20, 40) });
    const end = shown[1]![0] + GATHER_BYTES;
    memory.fill(SENTINEL, end, end + 65_536);
    for (let at = 40; at < 40 + 3 * LONGEST; at += LONGEST)
      connection.send(0, at, { payload: pattern(at, at + LONGEST) });
    assert.deepEqual(
      shown.map(([, length, follows]) => [length, follows]),
      [
        [20, FOLLOWS_MORE],
        [40, FOLLOWS_MORE],
        [40 + LONGEST, FOLLOWS_MORE],
        [40 + 2 * LONGEST, FOLLOWS_NO_ROOM],
        [LONGEST, FOLLOWS_MORE],
      ],
    );
    assert.equal(
      memory.subarray(end, end + 65_536).findIndex((byte) => byte !== SENTINEL),
      -1,
    );
  });

  it('is no more than there is place for, whatever has been left undecided: the flow ends', () => {
    const { memory, table, at, shows } = undecided(1, GATHER_BYTES + 1);
    const lengths: number[] = [];
    const show = shows((_plugin, length) => {
      lengths.push(length);
      return STREAM_PASS;
    });
    assert.equal(show.show(at, new LiveFlow(), table.words[at + NEXT]!, GATHERED, FOLLOWS_MORE), 1);
    assert.equal(show.reason, DROP.plugin_failed);
    assert.deepEqual(lengths, []);
    assert.equal(
      memory.bytes.subarray(MIN_STREAM_BYTES + GATHER_BYTES).findIndex((byte) => byte !== SENTINEL),
      -1,
    );
  });
});

describe('a plugin that is ended while it is shown bytes', () => {
  it('leaves those that were done before it done', () => {
    const { table, at, shows } = undecided(0b11, 100);
    let asked: number[] = [];
    // As the watchdog does it: nothing in between catches that.
    const interrupted = new Error('ended');
    const show = shows((plugin) => {
      asked.push(plugin);
      if (plugin === 0) return STREAM_DONE;
      throw interrupted;
    });
    const again = (): number => show.show(at, new LiveFlow(), 0, GATHERED, FOLLOWS_MORE);
    assert.throws(again, interrupted);
    assert.deepEqual(asked, [0, 1]);
    assert.equal(table.words[at + READERS], 0b10);
    asked = [];
    assert.throws(again, interrupted);
    assert.deepEqual(asked, [1]);
  });
});
