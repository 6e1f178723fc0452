/**
 * Metrics and flow log of a gateway that forwards: real processes, a host that sends through it, nfcapd as the
 * collector of IPFIX.
 *
 * ```
 *   namespace of the gateway                                  another namespace
 *   10.0.2.5 ── tun-dc ── homeward ── up0 (192.0.2.1) ──── up1 (192.0.2.254) ── 198.51.100.7: echoes UDP
 *   nfcapd, Prometheus (curl)
 * ```
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { applyConfig } from '../../src/api/client/config.ts';
import { DaemonHost, CONFIG as WITHOUT_ROUTES } from '../support/daemon-host.ts';
import { type Family, parseExposition } from '../support/exposition-parser.ts';
import { labOptions } from '../support/lab/lab-test.ts';
import { linesOf, NetworkNamespace } from '../support/network-namespace.ts';
import { eventually as within } from '../support/patience.ts';

const CONFIG = `${WITHOUT_ROUTES}routes: [{ prefix: 0.0.0.0/0, via: internet }]\n`;
const METRICS_URL = 'http://127.0.0.1:9550/metrics';
const SERVER = '198.51.100.7';
const HOST = '10.0.2.5';

const ECHO = `
  const socket = require('node:dgram').createSocket('udp4');
  socket.on('message', (message, { address, port }) => socket.send(Buffer.concat([message, message]), port, address));
  socket.bind(7, '${SERVER}', () => console.log('ready'));
`;

/** Sends a datagram of 100 bytes from each port and waits for the answers, which are twice as long. */
const ASK = `
  const { createSocket } = require('node:dgram');
  let waiting = process.argv.length - 1;
  for (const port of process.argv.slice(1)) {
    const socket = createSocket('udp4');
    const send = () => socket.send(Buffer.alloc(100), 7, '${SERVER}');
    // What is sent is counted: so not again while an answer is only slow.
    const again = setInterval(send, 5000);
    socket.on('message', (message) => {
      clearInterval(again);
      socket.close();
      if (message.length === 200 && --waiting === 0) console.log('answered');
    });
    socket.bind(Number(port), '${HOST}', send);
  }
`;

/** On a busy machine everything takes longer. */
function eventually<T>(what: string, check: () => T | Promise<T>): Promise<NonNullable<T>> {
  return within(what, check, 30_000);
}

interface LogLine {
  readonly event: 'start' | 'end';
  readonly time: string;
  readonly site: string;
  readonly ingress: string;
  readonly egress: string;
  readonly protocol: string;
  readonly original: LogTuple;
  readonly translated: LogTuple | null;
  readonly reason?: string;
  readonly originator?: { readonly packets: number; readonly bytes: number };
  readonly reply?: { readonly packets: number; readonly bytes: number };
}

interface LogTuple {
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
}

class Bench {
  readonly host: DaemonHost;
  readonly far: NetworkNamespace;
  readonly logPath: string;

  constructor(t: TestContext) {
    this.far = new NetworkNamespace();
    t.after(() => this.far.remove());
    this.host = new DaemonHost(t);
    mkdirSync(join(this.host.directory, 'log'));
    this.logPath = join(this.host.directory, 'log', 'flows.jsonl');
    this.host.namespace.ip(`link set up1 netns ${this.far.name}`);
    this.far.ip(
      'link set lo up',
      `address add ${SERVER}/32 dev lo`,
      'address add 192.0.2.254/24 dev up1',
      'link set up1 up',
    );
  }

  configure(telemetry: string): void {
    writeFileSync(this.host.configPath, `${CONFIG}${telemetry}`);
  }

  /** To be called when the gateway forwards: its TUN device is there then. */
  async serve(): Promise<void> {
    const { namespace } = this.host;
    namespace.ip(`address replace ${HOST}/32 dev lo`, `route replace ${SERVER}/32 dev tun-dc src ${HOST}`);
    const echo = this.far.spawn(process.execPath, ['-e', ECHO]);
    assert.equal((await linesOf(echo).next()).value, 'ready');
  }

  /** A flow from each port, answered. */
  async ask(...ports: readonly number[]): Promise<void> {
    const client = this.host.namespace.spawn(process.execPath, ['-e', ASK, ...ports.map(String)]);
    assert.equal((await linesOf(client).next()).value, 'answered');
  }

  /** What a scrape gives, by the strict parser. */
  async scrape(...place: readonly string[]): Promise<Map<string, Family>> {
    const { stdout, stderr, status } = await this.host.namespace.attempt('curl', [
      ...['--silent', '--show-error', '--fail', '--max-time', '5'],
      ...(place.length > 0 ? place : [METRICS_URL]),
    ]);
    assert.equal(status, 0, stderr);
    return parseExposition(stdout);
  }

  lines(path = this.logPath): LogLine[] {
    if (!existsSync(path)) return [];
    const text = readFileSync(path, 'utf8').trim();
    return text === '' ? [] : text.split('\n').map((line) => JSON.parse(line) as LogLine);
  }
}

function flat({ source, sourcePort, destination, destinationPort }: LogTuple): (string | number)[] {
  return [source, sourcePort, destination, destinationPort];
}

function value(families: Map<string, Family>, name: string, labels: Record<string, string> = {}) {
  return families.get(`homeward_${name}`)?.samples.get(JSON.stringify(labels));
}

test('metrics tell what happened, also when nobody forwards', labOptions(), async (t) => {
  const bench = new Bench(t);
  const { host } = bench;
  bench.configure('metrics: { listen: 127.0.0.1:9550 }\nlog: { level: debug }\n');
  const daemon = host.start();
  let log = '';
  daemon.stderr.on('data', (chunk: Buffer) => {
    log += chunk.toString();
  });
  await host.forwarding();
  await bench.serve();
  await bench.ask(40001, 40002, 40003);
  const dc = { port: 'dc-tun', site: 'dc' };
  const families = await eventually('the port is told to be up', async () => {
    const scraped = await bench.scrape();
    return value(scraped, 'port_up', dc) === 1 ? scraped : undefined;
  });
  assert.equal(value(families, 'dataplane_up'), 1);
  assert.equal(value(families, 'flows'), 3);
  assert.equal(value(families, 'flow_creations_total', { result: 'created' }), 3);
  assert.ok(value(families, 'port_packets_total', { ...dc, direction: 'in' })! >= 3);
  assert.equal(value(families, 'port_bytes_total', { ...dc, direction: 'out' }), 3 * (20 + 8 + 200));
  const pool = { egress: 'internet', address: '192.0.2.1', protocol: 'udp', state: 'live' };
  assert.equal(value(families, 'external_ports', pool), 3);
  assert.ok(value(families, 'plugin_calls_total', { plugin: 'return-routing' })! >= 3);
  assert.ok(value(families, 'dataplane_bursts_total')! > 0);

  const socket = ['--unix-socket', join(host.runtimeDirectory, 'api.sock'), 'http://homeward/metrics'];
  assert.deepEqual([...(await bench.scrape(...socket)).keys()], [...families.keys()]);
  for (const [args, status] of [
    [['--request', 'POST', METRICS_URL], '405'],
    [[METRICS_URL.replace('/metrics', '/v1/status')], '404'],
  ] as const) {
    const asked = ['--silent', '--output', '/dev/null', '--write-out', '%{http_code}', ...args];
    assert.equal(host.namespace.exec('curl', asked), status);
  }

  const { pid } = (await host.status()).dataPlane;
  process.kill(pid!, 'SIGKILL');
  await eventually('the restart is told', async () => {
    return value(await bench.scrape(), 'dataplane_restarts_total') === 1;
  });
  await host.forwarding();
  const after = await bench.scrape();
  assert.equal(value(after, 'flows'), 3, 'counters and flows are those of before');
  assert.equal(value(after, 'flows_restored_total'), 3);
  assert.equal(await host.end(daemon, 'SIGINT'), 0);
  const levels = log
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { level: number }).level);
  assert.ok(levels.includes(20), 'log.level is debug');
});

test('the flow log: JSON lines and nfcapd tell the same', labOptions(), async (t) => {
  const bench = new Bench(t);
  const { host } = bench;
  bench.configure(
    `flow_log: { file: ${bench.logPath}, ipfix: { collector: 127.0.0.1:4739, observation_domain: 77 } }\n`,
  );
  const collected = join(host.directory, 'collected');
  mkdirSync(collected);
  const collector = host.namespace.spawn('nfcapd', [
    '-p',
    '4739',
    '-b',
    '127.0.0.1',
    '-w',
    collected,
    '-t',
    '3600',
  ]);
  await eventually('nfcapd listens', () => host.namespace.exec('ss', ['-Hlun']).includes('127.0.0.1:4739'));
  const daemon = host.start();
  await host.forwarding();
  await bench.serve();
  const ports = [40001, 40002, 40003];
  await bench.ask(...ports);
  await eventually('the flows are in the log', () => bench.lines().length >= 3);

  // Somebody else puts the file aside; and a data plane that is killed loses nothing.
  renameSync(bench.logPath, `${bench.logPath}.aside`);
  daemon.kill('SIGHUP');
  process.kill((await host.status()).dataPlane.pid!, 'SIGKILL');
  await eventually('it is started anew', async () => (await host.status()).dataPlane.restarts === 1);
  await host.forwarding();
  await bench.ask(40004);
  await eventually('the flow is in the new file', () => bench.lines().length >= 1);
  assert.equal(await host.end(daemon, 'SIGINT'), 0);
  await host.end(collector, 'SIGTERM');

  const lines = [...bench.lines(`${bench.logPath}.aside`), ...bench.lines()];
  const starts = lines.filter(({ event }) => event === 'start');
  const ends = lines.filter(({ event }) => event === 'end');
  const sorted = (events: readonly LogLine[]) => events.map(({ original }) => original.sourcePort).sort();
  assert.deepEqual(sorted(starts), [...ports, 40004]);
  assert.deepEqual(sorted(ends), [...ports, 40004]);
  for (const end of ends) {
    const start = starts.find(({ original }) => original.sourcePort === end.original.sourcePort)!;
    assert.deepEqual(end.translated, start.translated);
    assert.equal(end.translated!.source, '192.0.2.1');
    assert.deepEqual(
      [end.site, end.ingress, end.egress, end.protocol, end.reason],
      ['dc', 'dc-tun', 'internet', 'udp', 'flushed'],
    );
    assert.ok(end.originator!.packets >= 1);
    assert.deepEqual(end.reply, { packets: 1, bytes: 228 });
  }

  const records = JSON.parse(host.namespace.exec('nfdump', ['-R', collected, '-o', 'json'])) as Readonly<
    Record<string, string | number>
  >[];
  const described = records.map((record) => ({
    event: record.nat_event,
    // nfdump writes milliseconds without leading zeros.
    time: Date.parse(`${String(record.t_event).replace(/\d+$/, (ms) => ms.padStart(3, '0'))}Z`),
    tuple: [record.src4_addr, record.src_port, record.dst4_addr, record.dst_port],
    translated: [
      record.src4_xlt_ip,
      Number(record.src_xlt_port),
      record.dst4_xlt_ip,
      Number(record.dst_xlt_port),
    ],
    packets: [record.in_packets, record.in_bytes, record.out_packets ?? 0, record.out_bytes ?? 0],
  }));
  const expected = lines.map((line) => ({
    event: line.event === 'start' ? 'NAT44 session create' : 'NAT44 session delete',
    time: Date.parse(line.time),
    tuple: flat(line.original),
    translated: flat(line.translated!),
    packets: [
      line.originator?.packets ?? 0,
      line.originator?.bytes ?? 0,
      line.reply?.packets ?? 0,
      line.reply?.bytes ?? 0,
    ],
  }));
  const inOrder = (one: { event: unknown; tuple: unknown }, other: { event: unknown; tuple: unknown }) =>
    JSON.stringify([one.event, one.tuple]) < JSON.stringify([other.event, other.tuple]) ? -1 : 1;
  assert.deepEqual(described.sort(inOrder), expected.sort(inOrder));
});

test(
  'switched on and off while it runs; what does not work is a problem, and no reason to stop',
  labOptions(),
  async (t) => {
    const bench = new Bench(t);
    const { host } = bench;
    bench.configure('');
    const daemon = host.start();
    await host.forwarding();
    await bench.serve();
    await bench.ask(40001);
    assert.ok(!host.files().includes('flow-events'), 'no ring without a flow log');

    const missing = join(host.directory, 'missing', 'flows.jsonl');
    const apply = async (telemetry: string) => {
      await applyConfig(host.api, { text: `${CONFIG}${telemetry}`, by: 'test' });
    };
    await apply(`metrics: { listen: 127.0.0.1:9550 }\nflow_log: { file: ${missing} }\n`);
    await bench.ask(40002);
    await eventually('the problem is in the status', async () =>
      (await host.status()).problems.some((problem) =>
        problem.includes('flow log cannot be written: ENOENT'),
      ),
    );
    assert.ok(value(await bench.scrape(), 'flow_log_errors_total')! >= 1);
    assert.equal((await host.status()).dataPlane.state, 'forwarding');
    mkdirSync(join(host.directory, 'missing'));
    await eventually('the flow is in the log', () => bench.lines(missing).length >= 1);
    assert.deepEqual((await host.status()).problems, []);
    assert.equal(bench.lines(missing)[0]!.original.sourcePort, 40002);

    await apply('');
    await bench.ask(40003);
    assert.equal((await host.namespace.attempt('curl', ['--silent', METRICS_URL])).status, 7);
    assert.ok(!host.files().includes('flow-events'));
    assert.equal(await host.end(daemon, 'SIGINT'), 0);
    assert.deepEqual(
      bench.lines(missing).map(({ event }) => event),
      ['start'],
    );
  },
);
