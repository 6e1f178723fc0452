/** What tests of streams share: one gateway with a plugin that reads, as new for every test. */
import { beforeEach } from 'node:test';
import { COUNTER } from '../../src/flow/counters.ts';
import { STREAM_PASS, STREAM_WHOLE } from '../../src/plugin/contract.ts';
import type { Delivered, MemoryGateway } from './memory-gateway.ts';
import { ReadingPlugin, StreamConnection, streamGateway } from './stream-gateway.ts';

export class StreamBench {
  readonly reader = new ReadingPlugin();
  readonly gateway: MemoryGateway = streamGateway([this.reader.loaded()]);
  private port = 2000;
  private drops: Record<string, number> = {};

  /** Call at the top of a file: every test begins with no flow and a plugin that passes everything. */
  constructor() {
    beforeEach(() => {
      this.gateway.assembly.flush(() => true, this.gateway.nowMs);
      this.gateway.run();
      this.reader.shown.length = 0;
      this.reader.answer = () => STREAM_PASS;
      this.reader.originator = STREAM_WHOLE;
      this.reader.reply = STREAM_WHOLE;
      this.drops = this.gateway.drops('paris');
    });
  }

  /** A connection of its own ports, not open yet. */
  connection(first: readonly [number, number] = [1000, 9000]): StreamConnection {
    return new StreamConnection(this.gateway, first, this.port++);
  }

  opened(first?: readonly [number, number]): StreamConnection {
    const connection = this.connection(first);
    connection.open();
    return connection;
  }

  /** Drops since the test began. */
  dropped(): Record<string, number> {
    const now = Object.entries(this.gateway.drops('paris'));
    return Object.fromEntries(
      now
        .map(([name, count]) => [name, count - (this.drops[name] ?? 0)] as const)
        .filter(([, count]) => count > 0),
    );
  }

  conflicts(): number {
    return this.gateway.assembly.counters.global(COUNTER.stream_conflicts);
  }

  /** Segments held back. */
  held(): number {
    return this.gateway.assembly.pipeline.streams.heldSegments;
  }

  /** Lets time pass as a data plane does, in small steps. */
  wait(ms: number): void {
    for (let passed = 0; passed < ms; passed += 1000) this.gateway.pass(1000);
  }
}

/** The payloads of what left. */
export function data(left: readonly Delivered[]): Uint8Array[] {
  return left.map(({ payload }) => payload);
}
