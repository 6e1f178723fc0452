import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { test } from 'node:test';
import { createLogger } from './logger.ts';

function capture(isTTY: boolean): { stream: Writable & { isTTY: boolean }; lines: string[] } {
  const lines: string[] = [];
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(chunk.toString());
      done();
    },
  });
  return { stream: Object.assign(stream, { isTTY }), lines };
}

test('JSON lines where nobody looks, words on a terminal', () => {
  const file = capture(false);
  createLogger({ stream: file.stream }).warn({ port: 'lyon-ic' }, 'is down');
  const { level, port, msg } = JSON.parse(file.lines[0]!) as Record<string, unknown>;
  assert.deepEqual([level, port, msg], [40, 'lyon-ic', 'is down']);

  const terminal = capture(true);
  const logger = createLogger({ stream: terminal.stream });
  logger.warn({ port: 'lyon-ic', flows: 3 }, 'is down');
  logger.debug('not said');
  assert.equal(terminal.lines.length, 1);
  assert.match(terminal.lines[0]!, /^\d\d:\d\d:\d\d warn {2}is down {2}port=lyon-ic {2}flows=3\n$/);
});
