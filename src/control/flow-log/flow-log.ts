/**
 * The flow log: takes events out of the data plane's ring and gives them to a file and to a collector.
 *
 * ```
 *  data plane ──► ring on tmpfs ──► FlowLog, every 100 ms ──┬─► file of JSON lines
 *                  (bounded)                                └─► IPFIX collector
 * ```
 *
 * An event leaves the ring when the file has it; one that is killed before writes it again, and its `number` tells. The
 * collector never holds anything up. A file that cannot be written does: until half the ring is full, then the
 * oldest events are given up, and counted.
 *
 * Neighbours: `flow/flow-event-ring.ts`, `dataplane/flow-events-file.ts` (who makes it), `telemetry.ts` (the owner).
 */
import { readFileSync, rmSync, statSync } from 'node:fs';
import { mapFile } from '../../device/native.ts';
import { FlowEventRing } from '../../flow/flow-event-ring.ts';
import { BootClock } from '../boot-clock.ts';
import type { FlowLogConfig, IpfixConfig } from '../config/config.ts';
import { type FlowEvent, readFlowEvent } from './flow-event.ts';
import { IpfixExporter, type IpfixStatistics } from './ipfix/exporter.ts';
import { jsonLine } from './json-lines.ts';
import type { FlowLogNames } from './names.ts';
import { RotatingFile } from './rotating-file.ts';

const ROUND_MS = 100;
/** After a failure of the file. */
const RETRY_MS = 1000;
/** Events of one round: some milliseconds of work. */
const ROUND_EVENTS = 4096;

export interface FlowLogStatistics {
  /** Taken out of the ring. */
  readonly events: number;
  readonly waiting: number;
  /** Because the ring was full, or the file could not be written. */
  readonly lost: number;
  readonly suppressed: number;
  readonly file: { readonly writtenBytes: number; readonly errors: number } | undefined;
  readonly ipfix: IpfixStatistics | undefined;
}

export class FlowLog {
  readonly #path: string;
  readonly #names: FlowLogNames;
  readonly #clock = new BootClock();
  readonly #bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  #ring: FlowEventRing | undefined;
  #identity = '';
  #file: RotatingFile | undefined;
  #ipfix: IpfixExporter | undefined;
  #ipfixConfig: IpfixConfig | null = null;
  /** Number of the next event for the collector; the ring's `read` is the file's. */
  #exported: number | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** Rounds and changes of settings run one after the other. */
  #round: Promise<void>;
  #isOpen = true;
  #closing: Promise<void> | undefined;
  #events = 0;
  #givenUp = 0;
  #fileProblem = '';

  /** @param path of the ring; it need not be there yet */
  constructor(path: string, config: FlowLogConfig, names: FlowLogNames) {
    this.#path = path;
    this.#names = names;
    this.#round = this.#change(config);
    this.#schedule(ROUND_MS);
  }

  /** Takes other settings when the round under way is written; what they do not change goes on. Never rejects. */
  configure(config: FlowLogConfig): Promise<void> {
    this.#round = this.#round.then(() => this.#change(config));
    return this.#round;
  }

  /** What keeps events from where they belong now, one line each. */
  get problems(): readonly string[] {
    return [this.#fileProblem, this.#ipfix?.statistics.problem ?? ''].filter((text) => text !== '');
  }

  get statistics(): FlowLogStatistics {
    const ring = this.#ring;
    const file = this.#file;
    return {
      events: this.#events,
      waiting: ring?.waiting ?? 0,
      lost: (ring?.lost ?? 0) + this.#givenUp,
      suppressed: ring?.suppressed ?? 0,
      file: file === undefined ? undefined : { writtenBytes: file.writtenBytes, errors: file.errors },
      ipfix: this.#ipfix?.statistics,
    };
  }

  /** Somebody has put the file aside: it is opened anew. */
  reopen(): void {
    this.#file?.reopen();
  }

  /** Takes what is in the ring and ends. The ring stays for the next control process. */
  close(): Promise<void> {
    this.#closing ??= this.#end();
    return this.#closing;
  }

  /** As {@link close}, and the ring is removed: the data plane writes no events any more. */
  async remove(): Promise<void> {
    await this.close();
    rmSync(this.#path, { force: true });
  }

  async #end(): Promise<void> {
    this.#isOpen = false;
    clearTimeout(this.#timer);
    await this.#round;
    while ((await this.#take()) > 0) {
      // Until it is empty or cannot be emptied.
    }
    await this.#file?.close();
    await this.#ipfix?.close();
  }

  /** Nothing is being written now: a file that is not wanted any more is whole. A collector gets what is on its way. */
  async #change(config: FlowLogConfig): Promise<void> {
    const [file, ipfix] = [this.#file, this.#ipfix];
    const isOtherFile = file?.path !== (config.file ?? undefined);
    if (isOtherFile) {
      this.#file = config.file === null ? undefined : new RotatingFile(config.file, config.rotate);
      this.#fileProblem = '';
    } else if (file !== undefined) {
      file.options = config.rotate;
    }
    const isOtherCollector = JSON.stringify(config.ipfix) !== JSON.stringify(this.#ipfixConfig);
    if (isOtherCollector) {
      this.#ipfixConfig = config.ipfix;
      this.#ipfix = config.ipfix === null ? undefined : new IpfixExporter(config.ipfix, this.#names);
      void ipfix?.close();
    }
    if (isOtherFile) await file?.close();
  }

  #schedule(delayMs: number): void {
    this.#timer = setTimeout(() => {
      const round = this.#round.then(() => this.#take());
      this.#round = round.then((taken) => {
        if (!this.#isOpen) return;
        const isStuck = taken === 0 && this.#fileProblem !== '';
        this.#schedule(isStuck ? RETRY_MS : taken === ROUND_EVENTS ? 0 : ROUND_MS);
      });
    }, delayMs);
  }

  /** One round; resolves to the number of events that left the ring. Never rejects. */
  async #take(): Promise<number> {
    const ring = this.#openRing();
    if (ring === undefined) {
      this.#ipfix?.send([]);
      return 0;
    }
    // A number that cannot be: somebody has written over it.
    if ((ring.written - ring.read) >>> 0 > ring.capacity) ring.read = ring.written;
    const from = ring.read;
    const count = Math.min(ring.waiting, ROUND_EVENTS);
    this.#clock.read();
    const events: FlowEvent[] = [];
    for (let at = 0; at < count; at++) events.push(readFlowEvent(ring, (from + at) | 0, this.#clock));
    this.#export(events, from);
    if (count === 0 || !(await this.#write(events, ring))) return 0;
    ring.read = (from + count) | 0;
    this.#events += count;
    return count;
  }

  /** To the collector, what it has not had in an earlier round. */
  #export(events: readonly FlowEvent[], from: number): void {
    const had = this.#exported === undefined ? 0 : (this.#exported - from) | 0;
    const fresh = had > 0 && had <= events.length ? events.slice(had) : events;
    this.#exported = (from + events.length) | 0;
    this.#ipfix?.send(fresh);
  }

  /** To the file. False: they stay in the ring. */
  async #write(events: readonly FlowEvent[], ring: FlowEventRing): Promise<boolean> {
    const file = this.#file;
    if (file === undefined) return true;
    try {
      await file.append(events.map((event) => jsonLine(event, this.#names)).join(''));
      this.#fileProblem = '';
      return true;
    } catch (error) {
      this.#fileProblem = `the flow log cannot be written: ${(error as Error).message}`;
      if (ring.waiting <= ring.capacity / 2) return false;
      this.#givenUp += events.length;
      return true;
    }
  }

  /** The ring that is at the path now. */
  #openRing(): FlowEventRing | undefined {
    const found = statSync(this.#path, { throwIfNoEntry: false });
    if (found === undefined) return this.#ring;
    const identity = `${found.dev}.${found.ino}`;
    if (identity === this.#identity) return this.#ring;
    try {
      this.#ring = FlowEventRing.open(mapFile(this.#path, found.size), this.#bootId) ?? this.#ring;
      this.#identity = identity;
      this.#exported = undefined;
    } catch {
      // Replaced since it was looked at: there will be another one.
    }
    return this.#ring;
  }
}
