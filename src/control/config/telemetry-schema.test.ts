/** What homeward tells of itself: metrics, flow log, log. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfigError } from './errors.ts';
import { parseConfig } from './load.ts';

function parse(lines: string) {
  return parseConfig(`version: 1\n${lines}\n`, 'x.yaml');
}

function problems(lines: string): string[] {
  try {
    parse(lines);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.message.split('\n').map((line) => line.replace(/^x\.yaml:/, ''));
  }
  return [];
}

test('off by default', () => {
  const { metrics, flowLog, log } = parse('');
  assert.deepEqual([metrics, flowLog, log], [{ listen: null }, null, { level: 'info' }]);
});

test('units and defaults', () => {
  const { metrics, flowLog, log } = parse(`metrics: { listen: "[2001:db8:0::1]:9550" }
log: { level: debug }
flow_log:
  file: /var/log/homeward/flows.jsonl
  rotate: { size: 1MiB }
  ipfix: { collector: 192.0.2.50:4739, template_interval: 5m }
  refusals: all`);
  assert.deepEqual(metrics.listen, { address: '2001:db8::1', port: 9550 });
  assert.equal(log.level, 'debug');
  assert.deepEqual(flowLog, {
    file: '/var/log/homeward/flows.jsonl',
    rotate: { sizeBytes: 1048576, keep: 10 },
    ipfix: {
      collector: { address: '192.0.2.50', port: 4739 },
      transport: 'udp',
      observationDomain: 1,
      templateIntervalMs: 300_000,
      maxMessageBytes: 1400,
    },
    refusals: 'all',
    refusalsPerSecond: 100,
  });
  assert.equal(parse('metrics: { listen: null }').metrics.listen, null);
});

test('what is wrong is told with its place and what would be right', () => {
  for (const [lines, expected] of [
    ['flow_log: {}', '2:11: flow_log: is missing; write file, ipfix or both'],
    [
      'flow_log: { file: flows.jsonl }',
      '2:19: flow_log.file: flows.jsonl is not an absolute path of a file; write one such as /var/log/homeward/flows.jsonl',
    ],
    [
      'flow_log: { file: /x, rotate: { size: 1B } }',
      '2:39: flow_log.rotate.size: 1B is not usable; write a size from 65536 to 1099511627776 bytes',
    ],
    [
      'flow_log: { ipfix: { collector: collector.example } }',
      '2:33: flow_log.ipfix.collector: collector.example is not an address and a port; write one such as 192.0.2.50:4739 or [::1]:4739',
    ],
    [
      'flow_log: { ipfix: { collector: "192.0.2.1:4739", template_interval: 1ms } }',
      '2:70: flow_log.ipfix.template_interval: 1ms is not usable; write from 1s to 3600s',
    ],
    [
      'log: { level: loud }',
      '2:15: log.level: loud is not known here; write one of trace, debug, info, warn, error',
    ],
    [
      'flow_log: { file: /x, refusal_rate: 0/s }',
      '2:37: flow_log.refusal_rate: 0/s is not a rate; write a whole number per second such as 100/s',
    ],
  ] as const) {
    assert.deepEqual(problems(lines), [expected]);
  }
  for (const listen of [
    '9550',
    '":9550"',
    '"[127.0.0.1]:9550"',
    '"::1:9550"',
    '127.0.0.1:0',
    '127.0.0.1:65536',
  ]) {
    assert.match(
      problems(`metrics: { listen: ${listen} }`).join(),
      /metrics\.listen: .*is not an address and a port/,
    );
  }
});
