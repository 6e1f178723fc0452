import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { MemoryGateway } from '../../test/support/memory-gateway.ts';
import { udp } from '../../test/support/packets.ts';
import { FlowMemory } from '../flow/flow-memory.ts';
import { DropLog } from './drop-log.ts';
import { createLogger } from './runtime/logger.ts';

/** A gateway that drops, and what is logged of it. */
function bench(t: TestContext, level: string) {
  const gateway = new MemoryGateway({ sites: [{ name: 'paris', prefixes: ['10.0.1.0/24'] }] });
  const opened = FlowMemory.open(gateway.buffer);
  assert.ok(opened.usable);
  const lines: Record<string, unknown>[] = [];
  const stream = new Writable({
    write(chunk: Buffer, _, done) {
      lines.push(JSON.parse(chunk.toString()) as Record<string, unknown>);
      done();
    },
  });
  const logger = createLogger({ level, stream });
  const log = new DropLog(logger, () => ({ plan: gateway.plan, memory: opened.memory }));
  t.after(() => log.stop());
  const drop = (count: number, destination = '192.168.1.1 53') => {
    for (let i = 0; i < count; i++) gateway.send('paris', udp('10.0.1.5 4000', destination));
  };
  return { log, logger, lines, drop };
}

test('a line for each reason, with the packets since the last look', (t) => {
  const { log, lines, drop } = bench(t, 'debug');
  drop(3);
  log.look();
  assert.deepEqual(lines, [], 'what was before is no news');
  drop(1000);
  drop(2, '10.0.1.77 53');
  log.look();
  log.look();
  drop(5);
  log.look();
  assert.deepEqual(
    lines.map(({ level, msg, port, reason, packets }) => [level, msg, port, reason, packets]),
    [
      [20, 'packets dropped', 'paris', 'no_route', 1000],
      [20, 'packets dropped', 'paris', 'own_site_destination', 2],
      [20, 'packets dropped', 'paris', 'no_route', 5],
    ],
  );
});

test('nothing above debug, and no old news when the level changes', (t) => {
  const { log, logger, lines, drop } = bench(t, 'info');
  log.look();
  drop(10);
  log.look();
  logger.level = 'debug';
  log.look();
  assert.deepEqual(lines, []);
  drop(1);
  log.look();
  assert.deepEqual(
    lines.map(({ packets }) => packets),
    [1],
  );
});
