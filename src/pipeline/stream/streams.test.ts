import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  pattern,
  ReadingPlugin,
  StreamConnection,
  streamGateway,
} from '../../../test/support/stream-gateway.ts';

describe('streams', () => {
  it('shows in-order bytes and passes them', () => {
    const reader = new ReadingPlugin();
    const gateway = streamGateway([reader.loaded()]);
    const connection = new StreamConnection(gateway);
    connection.open();
    const [first] = connection.send(0, 0, { payload: pattern(0, 100) });
    assert.deepEqual(first.payload, pattern(0, 100));
    assert.deepEqual(reader.passed(0), pattern(0, 100));
  });

  it('holds early', () => {
    const reader = new ReadingPlugin();
    const gateway = streamGateway([reader.loaded()]);
    const connection = new StreamConnection(gateway);
    connection.open();
    assert.deepEqual(connection.send(0, 100, { payload: pattern(100, 200) }), []);
    const left = connection.send(0, 0, { payload: pattern(0, 100) });
    assert.deepEqual(
      left.map((d) => d.payload),
      [pattern(0, 100), pattern(100, 200)],
    );
    assert.deepEqual(gateway.drops('paris'), {});
  });
});
