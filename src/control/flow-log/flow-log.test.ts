/** From the data plane's ring to a file and to a collector, with real files and sockets. */
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { promisify } from 'node:util';
import { eventNames } from '../../../test/fixtures/flow-events.ts';
import { MemoryGateway } from '../../../test/support/memory-gateway.ts';
import { udp } from '../../../test/support/packets.ts';
import { eventually as within } from '../../../test/support/patience.ts';
import { flowEventsPath, openFlowEvents } from '../../dataplane/flow-events-file.ts';
import { RING_EVENTS } from '../../flow/flow-event-ring.ts';
import type { FlowLogConfig, IpfixConfig } from '../config/config.ts';
import { FlowLog } from './flow-log.ts';

/** On a busy machine everything takes longer. */
function eventually<T>(what: string, check: () => T | Promise<T>): Promise<NonNullable<T>> {
  return within(what, check, 30_000);
}

interface Line {
  readonly event: string;
  readonly number: number;
  readonly flow: number;
}

const SETTINGS: FlowLogConfig = {
  file: null,
  rotate: { sizeBytes: 1e9, keep: 1 },
  ipfix: null,
  refusals: 'policy',
  refusalsPerSecond: 10,
};

/** A gateway in memory whose events go to a ring in a folder of its own. */
class Bench {
  readonly folder = mkdtempSync(join(tmpdir(), 'homeward-test-'));
  readonly file = join(this.folder, 'log', 'flows.jsonl');
  readonly ringPath = flowEventsPath(join(this.folder, 'flow-memory'));
  readonly gateway = new MemoryGateway({
    sites: [{ name: 'paris', prefixes: ['10.0.1.0/24'] }],
    egress: [{ name: 'internet', pools: [{ address: '203.0.113.1' }] }],
  });
  readonly names = eventNames();
  readonly #logs: FlowLog[] = [];
  #port = 1024;

  constructor(t: TestContext) {
    mkdirSync(join(this.folder, 'log'));
    this.openEvents();
    t.after(async () => {
      for (const log of this.#logs) await log.close();
      rmSync(this.folder, { recursive: true });
    });
  }

  /** As a data plane that was started. */
  openEvents(): void {
    const asked = { refusals: ['policy'], refusalsPerSecond: 10 } as const;
    this.gateway.assembly.setEvents(openFlowEvents(join(this.folder, 'flow-memory'), asked));
  }

  start(settings: Partial<FlowLogConfig> = { file: this.file }): FlowLog {
    const log = new FlowLog(this.ringPath, { ...SETTINGS, ...settings }, this.names);
    this.#logs.push(log);
    return log;
  }

  /** Flows that begin and end at once: two events each. */
  flows(count: number): void {
    for (let i = 0; i < count; i++) {
      this.#port = this.#port === 65535 ? 1024 : this.#port + 1;
      this.gateway.send('paris', udp(`10.0.1.10 ${this.#port}`, '198.51.100.7 53'));
      this.gateway.assembly.flush(() => true, this.gateway.nowMs);
    }
  }

  lines(): Line[] {
    if (!existsSync(this.file)) return [];
    const text = readFileSync(this.file, 'utf8');
    // What stands behind the last end of a line is being written.
    return text
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Line);
  }
}

/** Where a symbolic link leads; empty if it is gone. */
function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}

function ipfixTo(port: number, change: Partial<IpfixConfig> = {}): IpfixConfig {
  return {
    collector: { address: '127.0.0.1', port },
    transport: 'udp',
    observationDomain: 5,
    templateIntervalMs: 60_000,
    maxMessageBytes: 512,
    ...change,
  };
}

/** Ids of the sets in a message, and its sequence number. */
function describeMessage(bytes: Buffer): { sets: number[]; sequence: number; domain: number } {
  assert.equal(bytes.readUInt16BE(0), 10);
  assert.equal(bytes.readUInt16BE(2), bytes.length);
  const sets: number[] = [];
  for (let at = 16; at < bytes.length; at += bytes.readUInt16BE(at + 2)) sets.push(bytes.readUInt16BE(at));
  return { sets, sequence: bytes.readUInt32BE(8), domain: bytes.readUInt32BE(12) };
}

describe('the flow log', () => {
  it('takes another file between two writes, not within one', async (t) => {
    const bench = new Bench(t);
    // A pipe takes some of what is written, and the rest when it is read.
    const pipe = join(bench.folder, 'pipe');
    execFileSync('mkfifo', [pipe]);
    bench.flows(3000);
    const log = bench.start({ file: pipe });
    const isOpen = (): boolean =>
      readdirSync('/proc/self/fd').some((fd) => linkOf(`/proc/self/fd/${fd}`) === pipe);
    await eventually('it writes', isOpen);
    const changed = log.configure({ ...SETTINGS, file: bench.file });
    bench.flows(100);
    const { stdout: piped } = await promisify(execFile)('cat', [pipe], { maxBuffer: 1e8 });
    await changed;
    await eventually('the rest is in the other file', () => bench.lines().at(-1)?.number === 6199);
    const numbers = [
      ...piped
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as Line),
      ...bench.lines(),
    ].map(({ number }) => number);
    assert.deepEqual(
      numbers,
      Array.from({ length: 6200 }, (_, at) => at),
    );
    assert.deepEqual([log.problems, log.statistics.lost], [[], 0]);
  });

  it('writes every event once and in order, over restarts of either process', async (t) => {
    const bench = new Bench(t);
    bench.flows(100);
    const first = bench.start();
    await eventually('the first events are written', () => bench.lines().length === 200);
    await first.close();
    bench.flows(50);
    bench.openEvents();
    bench.flows(50);
    const second = bench.start();
    await eventually('the others are written', () => bench.lines().length === 400);
    bench.flows(1);
    await second.close();
    const lines = bench.lines();
    assert.deepEqual(
      lines.map(({ number }) => number),
      Array.from({ length: 402 }, (_, at) => at),
    );
    assert.deepEqual(
      lines.slice(0, 2).map(({ event }) => event),
      ['start', 'end'],
    );
    assert.equal(second.statistics.events, 202);
    assert.equal(second.statistics.lost, 0);
  });

  it('keeps events until the file can be written', async (t) => {
    const bench = new Bench(t);
    rmSync(join(bench.folder, 'log'), { recursive: true });
    const log = bench.start();
    bench.flows(10);
    await eventually('the problem is told', () => log.problems.length > 0);
    assert.match(log.problems.join(), /^the flow log cannot be written: ENOENT/);
    assert.equal(log.statistics.waiting, 20);
    mkdirSync(join(bench.folder, 'log'));
    await eventually('the events are written', () => bench.lines().length === 20);
    await eventually('the problem is gone', () => log.problems.length === 0);
    assert.deepEqual([log.statistics.lost, log.statistics.waiting], [0, 0]);
    assert.ok(log.statistics.file!.errors > 0);
  });

  it('loses what finds no room, counts it, and never holds up the data plane', async (t) => {
    const bench = new Bench(t);
    // Nobody reads.
    bench.flows(RING_EVENTS / 2 + 50);
    const log = bench.start();
    await eventually('everything there is was written', () => log.statistics.events === RING_EVENTS);
    await log.close();
    assert.equal(log.statistics.lost, 100);
    const lines = bench.lines();
    assert.equal(lines.length, RING_EVENTS);
    assert.equal(new Set(lines.map(({ number }) => number)).size, RING_EVENTS);
    assert.equal(lines.at(-1)!.number, RING_EVENTS - 1);
  });

  it('is removed with its ring', async (t) => {
    const bench = new Bench(t);
    const log = bench.start();
    bench.flows(3);
    await log.remove();
    assert.equal(bench.lines().length, 6);
    assert.equal(existsSync(bench.ringPath), false);
  });
});

describe('IPFIX', () => {
  it('over UDP: templates first and again, data records in sequence', async (t) => {
    const bench = new Bench(t);
    const collector = createSocket('udp4');
    t.after(() => collector.close());
    const messages: Buffer[] = [];
    collector.on('message', (message) => messages.push(message));
    collector.bind(0, '127.0.0.1');
    await once(collector, 'listening');
    const log = bench.start({ ipfix: ipfixTo(collector.address().port, { templateIntervalMs: 150 }) });
    bench.flows(20);
    await eventually('all records were sent', () => log.statistics.ipfix!.records >= 40);
    const isTemplate = (message: Buffer) => describeMessage(message).sets.includes(2);
    await eventually('the templates came again', () => messages.filter(isTemplate).length >= 4);
    bench.flows(20);
    await log.close();
    const described = messages.map(describeMessage);
    assert.ok(messages.every(({ length }) => length <= 512));
    assert.deepEqual(described[0], { sets: [2], sequence: 0, domain: 5 });
    const sets = described.flatMap((message) => message.sets);
    assert.ok(
      [2, 3, 257, 259, 266, 267].every((set) => sets.includes(set)),
      sets.join(),
    );
    assert.ok(
      described.some(({ sets: ids }, at) => at > 2 && ids.includes(257) && described[at]!.sequence > 0),
    );
    assert.ok(log.statistics.ipfix!.records >= 80);
    assert.equal(log.statistics.ipfix!.lost, 0);
  });

  it('over TCP: a session of its own for each connection', async (t) => {
    const bench = new Bench(t);
    const sessions: { socket: Socket; bytes: Buffer }[] = [];
    const collector = createServer((socket) => {
      const session = { socket, bytes: Buffer.alloc(0) };
      sessions.push(session);
      socket.on('data', (chunk: Buffer) => {
        session.bytes = Buffer.concat([session.bytes, chunk]);
      });
      socket.on('error', () => {});
    });
    t.after(() => collector.close());
    collector.listen(0, '127.0.0.1');
    await once(collector, 'listening');
    const { port } = collector.address() as AddressInfo;
    const log = bench.start({ ipfix: ipfixTo(port, { transport: 'tcp' }) });
    const sessionMessages = (at: number) => {
      const { bytes } = sessions[at]!;
      const messages: Buffer[] = [];
      for (let from = 0; from + 4 <= bytes.length; ) {
        const length = bytes.readUInt16BE(from + 2);
        if (from + length > bytes.length) break;
        messages.push(bytes.subarray(from, from + length));
        from += length;
      }
      return messages.map(describeMessage);
    };
    bench.flows(10);
    await eventually('the events came', () => log.statistics.ipfix!.records >= 20);
    await eventually('both kinds', () => sessionMessages(0).some(({ sets }) => sets.includes(259)));
    assert.deepEqual(sessionMessages(0)[0], { sets: [2], sequence: 0, domain: 5 });
    sessions[0]!.socket.destroy();
    await eventually('the problem is told', () => log.problems.length > 0);
    bench.flows(10);
    await eventually('it is connected again', () => sessions.length === 2);
    await eventually('what waited has come', () => sessionMessages(1).some(({ sets }) => sets.includes(257)));
    assert.deepEqual(sessionMessages(1)[0], { sets: [2], sequence: 0, domain: 5 });
    assert.deepEqual(log.problems, []);
    await log.close();
    await eventually('the session has ended', () => sessions[1]!.socket.destroyed);
  });

  it('holds nothing up when nobody listens', async (t) => {
    const bench = new Bench(t);
    const log = bench.start({ file: bench.file, ipfix: ipfixTo(9, { transport: 'tcp' }) });
    bench.flows(50);
    await eventually('the file has all', () => bench.lines().length === 100);
    assert.match(log.problems.join(), /IPFIX collector at 127\.0\.0\.1 port 9 cannot be reached/);
  });
});
