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

test('lines that say the same are limited, others are not', () => {
  const file = capture(false);
  const logger = createLogger({ stream: file.stream, level: 'debug' });
  for (let i = 0; i < 1000; i++) {
    logger.warn({ port: 'lyon-ic', attempt: i }, 'is down');
    logger.debug({ reason: i % 2 === 0 ? 'no_flow' : 'no_route' }, 'packets dropped');
  }
  logger.warn({ port: 'paris-gre' }, 'is down');
  logger.warn('is down');
  const said = file.lines.map((line) => JSON.parse(line) as { msg: string; port?: string; reason?: string });
  assert.equal(said.filter(({ port }) => port === 'lyon-ic').length, 20);
  assert.equal(said.filter(({ reason }) => reason === 'no_flow').length, 20);
  assert.equal(said.length, 62);
});

test('the next line that passes tells how many were held back', (t) => {
  let nowMs = 5000;
  t.mock.method(performance, 'now', () => nowMs);
  const file = capture(false);
  const logger = createLogger({ stream: file.stream });
  for (let i = 0; i < 25; i++) logger.info('again');
  nowMs += 3000;
  logger.info('again');
  assert.equal(file.lines.length, 21);
  assert.deepEqual(JSON.parse(file.lines.at(-1)!).heldBack, 5);
});
