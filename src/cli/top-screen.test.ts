import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EXAMPLE_STATUS } from '../../test/fixtures/example-status.ts';
import type { FlowBody } from '../api/schemas/flows.ts';
import type { StatusBody } from '../api/schemas/gateway.ts';
import { type Sample, topLines } from './top-screen.ts';

const STATUS = structuredClone(EXAMPLE_STATUS) as StatusBody;

function flow(id: number, bytes: number, source = '10.0.1.7'): FlowBody {
  const tuple = { source, sourcePort: 5000, destination: '203.0.113.9', destinationPort: 443 };
  return {
    ...({} as FlowBody),
    id,
    site: 'paris',
    protocol: 'tcp',
    original: tuple,
    pin: 'paris-gre',
    originator: { packets: 1, bytes },
    reply: { packets: 1, bytes: 0 },
  };
}

/** The example after `ms`, with so much more in. */
function sample(atMs: number, moreBytes: number, flows: readonly FlowBody[]): Sample {
  const status = structuredClone(STATUS);
  status.tunnels[0]!.rxBytes += moreBytes;
  status.tunnels[0]!.rxPackets += moreBytes / 1000;
  return { atMs, status, flows };
}

const SIZE = { columns: 200, rows: 30 };

test('rates are differences over the time between', () => {
  const before = sample(1000, 0, [flow(1, 1000), flow(2, 5000)]);
  const now = sample(3000, 2_000_000, [flow(2, 5000), flow(1, 251_000), flow(3, 9000)]);
  const lines = topLines(before, now, SIZE);
  assert.equal(lines[0], 'gw1  forwarding  flows 12 of 262144  in 8.00Mbit/s 1.00kpkt/s');
  const text = lines.join('\n');
  assert.match(text, /^paris-gre +paris +up +12 +8\.00Mbit +0bit +1\.00k +0 +0$/m);
  assert.match(text, /^internet +- +down +0 +0bit/m);
  // The busiest first; of a flow that was not there before nothing is known yet.
  const flows = [...text.matchAll(/^(\d+) +paris +tcp .* (\S+) +0bit$/gm)].map(([, id, rate]) => [id, rate]);
  assert.deepEqual(flows, [
    ['1', '1.00Mbit'],
    ['3', '0bit'],
    ['2', '0bit'],
  ]);
});

test('a ping is told by its identifier, not by a port', () => {
  const ping = { ...flow(1, 100), protocol: 'icmp' } as FlowBody;
  ping.original = { ...ping.original, destinationPort: 0 };
  const text = topLines(undefined, sample(1000, 0, [ping]), SIZE).join('\n');
  assert.match(text, /^1 +paris +icmp +10\.0\.1\.7 id 5000 +203\.0\.113\.9 +paris-gre /m);
});

test('nothing is negative when counters begin anew', () => {
  const lines = topLines(sample(0, 5_000_000, []), sample(1000, 0, []), SIZE);
  assert.match(lines.join('\n'), /^paris-gre +paris +up +12 +0bit/m);
});

test('it fits the screen, whatever that is', () => {
  const flows = Array.from({ length: 300 }, (_, at) =>
    flow(at + 1, at, 'fd00:1234:5678:9abc:def0:1234:5678:9abc'),
  );
  const now = sample(1000, 0, flows);
  now.status.tunnels.push(
    ...Array.from({ length: 50 }, (_, at) => ({ ...now.status.tunnels[0]!, name: `t${at}` })),
  );
  for (const columns of [1, 40, 80]) {
    for (const rows of [1, 2, 3, 5, 10, 24, 60, 500]) {
      const lines = topLines(undefined, now, { columns, rows });
      assert.ok(lines.length <= Math.max(rows, 5), `${lines.length} lines on ${rows}`);
      for (const line of lines) assert.ok(line.length <= columns, line);
    }
  }
  assert.match(topLines(undefined, now, { columns: 80, rows: 24 }).join('\n'), /^\.\.\. \d+ more$/m);
});
