/** What an explanation says of plugins that read a flow's bytes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ReadingPlugin, StreamConnection, streamGateway } from '../../../test/support/stream-gateway.ts';
import { RECORD_WORDS, SHARED_ID } from '../../flow/layout.ts';
import { STREAM_NEED_MORE, STREAM_PASS } from '../../plugin/contract.ts';

test('a flow says who reads its bytes, how far, and what is held back', () => {
  const whole = new ReadingPlugin();
  const first = new ReadingPlugin();
  first.originator = 150;
  first.reply = 0;
  const gateway = streamGateway([whole.loaded('dlp'), first.loaded('sniffer')]);
  const told = (): string[] => {
    const { words } = gateway.assembly.state.table;
    const record = gateway.assembly.state.table.next(-1);
    const flow = words[record * RECORD_WORDS + SHARED_ID]!;
    const { steps } = gateway.assembly.explain({ kind: 'flow', flow }, gateway.nowMs)!;
    return steps.flatMap(({ stage, text }) => (stage === 'plugin' ? [text] : [])).slice(1);
  };
  const connection = new StreamConnection(gateway);
  connection.open();
  connection.send(0, 0, { payload: new Uint8Array(100) });
  assert.deepEqual(told(), [
    "The plugin dlp reads the originator's bytes: it asked for all of them, and has passed 100.",
    "The plugin sniffer reads the originator's bytes: it asked for the first 150, and has passed 100.",
    "The plugin dlp reads the responder's bytes: it asked for all of them, and has passed 0.",
  ]);
  whole.answer = ({ direction }) => (direction === 0 ? STREAM_NEED_MORE : STREAM_PASS);
  connection.send(0, 100, { payload: new Uint8Array(80) });
  assert.deepEqual(told(), [
    "The plugin dlp reads the originator's bytes: it asked for all of them, and has passed 100; 1 segment is held back, 80 bytes of what was shown undecided.",
    "The plugin sniffer has read what it wanted of the originator's bytes.",
    "The plugin dlp reads the responder's bytes: it asked for all of them, and has passed 0.",
  ]);
});
