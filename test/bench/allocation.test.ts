import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { allocatedPerPacket, allocatedPerSegment } from './allocation.ts';

/** The smallest heap object there is: one for each packet would be far above the limit. */
const SMALLEST_OBJECT_BYTES = 16;
const LIMIT_BYTES = SMALLEST_OBJECT_BYTES / 64;

describe('the established path', () => {
  for (const protocol of ['tcp', 'udp'] as const) {
    it(`allocates nothing for a ${protocol} packet, over a million packets`, async () => {
      const bytes = await allocatedPerPacket(protocol);
      assert.ok(Math.abs(bytes) < LIMIT_BYTES, `${bytes} bytes for each packet`);
    });
  }

  it('allocates nothing for a segment of a stream that a plugin reads', async () => {
    const bytes = await allocatedPerSegment();
    assert.ok(Math.abs(bytes) < LIMIT_BYTES, `${bytes} bytes for each segment`);
  });
});
