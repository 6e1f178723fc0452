/** What is read off a capture as it passes, whatever pieces it comes in. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LINKTYPE_RAW } from '../../device/capture.ts';
import { PcapngWriter } from '../../device/pcapng-writer.ts';
import { CaptureSummary } from './captures.ts';

function captureFile(ended: boolean): Buffer {
  const parts: Uint8Array[] = [];
  const writer = new PcapngWriter((bytes) => parts.push(bytes), {
    comment: 'gateway gw1',
    application: 'homeward',
  });
  for (const name of ['paris', 'internet']) writer.addInterface({ linkType: LINKTYPE_RAW, name });
  for (let number = 0; number < 7; number++) {
    const packet = { timestampNs: 0n, data: new Uint8Array(number * 11).fill(6) };
    writer.write(number % 2, packet, { comments: [`packet ${number}`], dropped: number === 3 ? 5 : 0 });
  }
  if (ended) {
    writer.writeStatistics(0, {
      timestampNs: 0n,
      received: 20,
      dropped: 12,
      comment: 'the capture has ended: enough',
    });
    writer.writeStatistics(1, { timestampNs: 0n, received: 3, dropped: 0 });
  }
  return Buffer.concat(parts);
}

function summaryOf(file: Buffer, cuts: readonly number[]): CaptureSummary {
  const summary = new CaptureSummary();
  let at = 0;
  for (const length of [...cuts, file.length]) {
    summary.add(file.subarray(at, at + length));
    at += length;
  }
  return summary;
}

test('packets, losses and the end are counted however the file is cut', () => {
  const file = captureFile(true);
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 60 }), { maxLength: 40 }), (cuts) => {
      const { packets, lost, ended } = summaryOf(file, cuts);
      assert.deepEqual(
        { packets, lost, ended },
        { packets: 7, lost: 12, ended: 'the capture has ended: enough' },
      );
    }),
    { seed: 91, numRuns: 300 },
  );
  assert.equal(summaryOf(file, new Array(file.length).fill(1)).packets, 7);
});

test('of a capture that was cut off, what was told on the way is known', () => {
  const { packets, lost, ended } = summaryOf(captureFile(false), [10, 100]);
  assert.deepEqual({ packets, lost, ended }, { packets: 7, lost: 5, ended: '' });
});
