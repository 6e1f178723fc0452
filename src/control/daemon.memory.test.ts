/** A flow memory that is damaged between two runs: the next start says so and works without the flows. */
import assert from 'node:assert/strict';
import { openSync, readFileSync, statSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { test } from 'node:test';
import { DaemonHost } from '../../test/support/daemon-host.ts';
import { eventually } from '../../test/support/patience.ts';

/** As in `flow/flow-memory.ts`. */
const VERSION_AT = 4;
const HEADER_BYTES = 4096;

const DAMAGES: readonly [what: string, damage: (path: string) => void, told: RegExp][] = [
  [
    'every byte is 0xff',
    (path) => writeFileSync(path, Buffer.alloc(statSync(path).size, 0xff)),
    /cannot be used and is made anew: the magic number is missing/,
  ],
  [
    'everything behind the header is 0xff',
    (path) => {
      const bytes = readFileSync(path);
      writeFileSync(path, bytes.fill(0xff, HEADER_BYTES));
    },
    // Each record is judged by itself, and these are none.
    /counters in the flow memory were damaged and begin anew/,
  ],
  ['nothing is left', (path) => truncateSync(path, 0), /made anew: 0 bytes hold no header/],
  ['a part of the header is left', (path) => truncateSync(path, 100), /made anew: 100 bytes hold no header/],
  [
    'half of it is left',
    (path) => truncateSync(path, statSync(path).size >>> 1),
    /cannot be used and is made anew: \d+ bytes of \d+/,
  ],
  [
    'it is of a version to come',
    (path) => {
      const version = Buffer.alloc(4);
      version.writeUInt32LE(99);
      writeSync(openSync(path, 'r+'), version, 0, 4, VERSION_AT);
    },
    /cannot be used and is made anew: layout version 99/,
  ],
];

/** As the data plane was told. */
function flowMemoryOf(pid: number): string {
  const words = readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0');
  return words[words.indexOf('--flow-memory') + 1]!;
}

test('a damaged flow memory: the start says so, and goes on without it', async (t) => {
  const host = new DaemonHost(t);
  host.answer();
  for (const [what, damage, told] of DAMAGES) {
    await t.test(what, async () => {
      const first = host.start();
      const path = flowMemoryOf((await host.forwarding()).dataPlane.pid!);
      assert.equal(await host.end(first, 'SIGTERM'), 0);
      damage(path);
      const second = host.start();
      let log = '';
      second.stderr.on('data', (data: Buffer) => {
        log += data.toString();
      });
      const { flows } = await host.forwarding();
      assert.deepEqual([flows?.current, flows?.max], [0, 4096], log);
      await eventually('all tunnels are up', async () =>
        (await host.status()).tunnels.every(({ state }) => state === 'up'),
      );
      assert.match(log, told);
      assert.equal(await host.end(second, 'SIGINT'), 0);
    });
  }
});
