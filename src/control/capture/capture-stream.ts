/**
 * A running capture as a stream of pcapng: reads the ring that the data plane fills, until a limit is reached, the
 * data plane ends or the stream's reader goes away.
 *
 * ```
 *  running ──┬─ limit of packets or bytes ────────────► statistics, end
 *            ├─ time is up, stopped, data plane gone ─► drain what is there ─► statistics, end
 *            ├─ nothing was read for a minute ────────► the ring is given up, statistics, end
 *            └─ destroyed (the reader is gone) ───────► nothing more
 * ```
 *
 * Nothing is buffered here beyond a chunk: a reader that is slow fills the ring, and then packets are lost and
 * counted, here and not in the gateway. One that does not read at all holds the ring for so long and no longer. While the stream lives it renews the ring's lease; when this process ends,
 * nobody does, and the data plane stops by itself.
 *
 * Neighbours: `pipeline/capture/capture-ring.ts`, `capture-interfaces.ts`, `device/pcapng-writer.ts`.
 */
import { Readable } from 'node:stream';
import { PcapngWriter } from '../../device/pcapng-writer.ts';
import {
  type CaptureRecord,
  type CaptureRingReader,
  RECORD_FRAME,
  RECORD_SENT,
} from '../../pipeline/capture/capture-ring.ts';
import { DROP_REASON_NAMES, DROP_REASON_TEXTS } from '../../plugin/drop-reasons.ts';
import type { CaptureInterfaces } from './capture-interfaces.ts';

export interface CaptureLimits {
  /** Records: a packet that is seen twice counts twice. */
  readonly packets: number;
  /** Of the file. */
  readonly bytes: number;
  readonly durationMs: number;
}

export interface CaptureStreamOptions {
  readonly reader: CaptureRingReader;
  readonly interfaces: CaptureInterfaces;
  readonly limits: CaptureLimits;
  /** Comment on the file, and who writes it. */
  readonly comment: string;
  readonly application: string;
  /** Tells the data plane to stop. Called once. */
  readonly stop: () => void;
  /** How long a reader may read nothing while there is something to read; default a minute. */
  readonly stalledMs?: number;
}

/** Packets reach a pipe that soon. */
const POLL_MS = 20;
/** A fraction of the lease. */
const RENEW_MS = 500;
/** Then others have a turn: the API answers while a capture runs. */
const CHUNK_BYTES = 256 * 1024;
/** How long the data plane may take to say that it has stopped. */
const DRAIN_MS = 500;
/** Somebody who looks at one page of a pager is still there. */
const STALLED_MS = 60_000;
/** What a frame without an Ethernet header begins with: a gap of so many bytes. */
const LINK_GAP_BYTES = 14;

export class CaptureStream extends Readable {
  readonly #options: Omit<CaptureStreamOptions, 'reader'>;
  /** undefined: given up. */
  #reader: CaptureRingReader | undefined;
  readonly #writer: PcapngWriter;
  readonly #timers: NodeJS.Timeout[];
  readonly #limit: NodeJS.Timeout;
  #parts: Uint8Array[] = [];
  #bytes = 0;
  #packets = 0;
  /** What packets have been told to be missing so far. */
  #lostTold = 0;
  #isWanted = false;
  /** When the reader last wanted something; counts while it does not. */
  #wantedAt = performance.now();
  #isStopped = false;
  /** Why it ends; empty while it runs. */
  #ending = '';
  #endingSince = 0;

  constructor(options: CaptureStreamOptions) {
    super({ highWaterMark: CHUNK_BYTES });
    const { reader, ...others } = options;
    this.#options = others;
    this.#reader = reader;
    const { comment, application } = options;
    this.#writer = new PcapngWriter((bytes) => this.#keep(bytes), { comment, application });
    // Those that were asked for are in the file even if no packet comes.
    options.interfaces.announce(this.#writer);
    this.#timers = [setInterval(() => this.#pump(), POLL_MS), setInterval(() => this.#renew(), RENEW_MS)];
    reader.renewLease();
    this.#limit = setTimeout(() => this.finish('its time is up'), options.limits.durationMs);
    this.#limit.unref();
  }

  /** Ends the capture, with everything that was captured so far. */
  finish(why: string): void {
    if (this.#ending !== '') return;
    this.#ending = why;
    this.#endingSince = performance.now();
    this.#stop();
  }

  override _read(): void {
    this.#isWanted = true;
    this.#wantedAt = performance.now();
    this.#pump();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#stop();
    for (const timer of this.#timers) clearInterval(timer);
    clearTimeout(this.#limit);
    this.#reader = undefined;
    callback(error);
  }

  #renew(): void {
    const { stalledMs = STALLED_MS } = this.#options;
    if (!this.#isWanted && performance.now() - this.#wantedAt > stalledMs) this.#giveUp(stalledMs);
    else this.#reader?.renewLease();
  }

  /** The reader does not read: what the ring has is lost, and what was handed on before is followed by the end. */
  #giveUp(stalledMs: number): void {
    const reader = this.#reader;
    if (reader === undefined) return;
    const stalled = `its reader has read nothing for ${stalledMs / 1000} s`;
    this.#ending = this.#ending === '' ? stalled : `${this.#ending}, and ${stalled}`;
    this.#stop();
    for (const timer of this.#timers) clearInterval(timer);
    let left = 0;
    while (reader.read() !== undefined) left++;
    this.#reader = undefined;
    this.#writeStatistics(reader.lost + left);
    this.push(Buffer.concat(this.#parts));
    this.#parts = [];
    this.push(null);
  }

  #stop(): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    this.#options.stop();
  }

  #keep(bytes: Uint8Array): void {
    this.#parts.push(bytes);
    this.#bytes += bytes.length;
  }

  /** Hands on what the ring has, if the reader has room. */
  #pump(): void {
    const reader = this.#reader;
    if (!this.#isWanted || this.destroyed || reader === undefined) return;
    const { limits } = this.#options;
    let isOver = false;
    const end = this.#bytes + CHUNK_BYTES;
    while (!isOver && this.#bytes < end) {
      const record = reader.read();
      if (record === undefined) break;
      this.#write(record, reader.lost);
      isOver = this.#packets >= limits.packets || this.#bytes >= limits.bytes;
    }
    if (isOver) {
      const reached = this.#packets >= limits.packets ? `${limits.packets} packets` : `${limits.bytes} bytes`;
      this.finish(`it has reached its limit of ${reached}`);
    } else if (this.#bytes < end && this.#ending !== '') {
      isOver = reader.ended || performance.now() - this.#endingSince > DRAIN_MS;
    }
    if (isOver) this.#writeStatistics(reader.lost);
    const chunk = Buffer.concat(this.#parts);
    this.#parts = [];
    if (chunk.length > 0) {
      this.#isWanted = this.push(chunk);
      this.#wantedAt = performance.now();
    }
    if (isOver) {
      this.#isWanted = false;
      this.#reader = undefined;
      this.push(null);
    } else if (this.#isWanted && this.#bytes >= end) {
      setImmediate(() => this.#pump());
    }
  }

  #write(record: CaptureRecord, lost: number): void {
    const isFrame = record.what === RECORD_FRAME;
    const { interfaces } = this.#options;
    const found = isFrame
      ? interfaces.ofDevice(this.#writer, record.device)
      : interfaces.ofPort(this.#writer, record.port);
    const gap = isFrame && !found.isEthernet ? LINK_GAP_BYTES : 0;
    found.packets++;
    const dropped = lost - this.#lostTold;
    this.#lostTold = lost;
    this.#packets++;
    this.#writer.write(
      found.index,
      {
        timestampNs: record.timestampNs,
        data: record.data.subarray(gap),
        originalLength: record.wireBytes - gap,
      },
      {
        comments: this.#comments(record, isFrame),
        direction: record.what === RECORD_SENT ? 'outbound' : 'inbound',
        dropped,
      },
    );
  }

  #comments(record: CaptureRecord, isFrame: boolean): string[] {
    const flow = record.flowId === 0 ? '' : `, flow ${record.flowId}`;
    const comments = [`packet ${record.packetNumber}${flow}`];
    if (isFrame && record.port !== 0) comments.push(`for ${this.#options.interfaces.nameOf(record.port)}`);
    if (record.reason !== 0) {
      const name = DROP_REASON_NAMES[record.reason] ?? String(record.reason);
      comments.push(`dropped: ${name}: ${DROP_REASON_TEXTS[record.reason] ?? ''}`);
    }
    if (record.gsoSize !== 0) comments.push(`to be sent in segments of ${record.gsoSize} bytes`);
    if (record.partialChecksum) comments.push('the checksum is left to the device');
    return comments;
  }

  /** @param lost is known of all interfaces together: it is told once. */
  #writeStatistics(lost: number): void {
    const timestampNs = BigInt(Date.now()) * 1_000_000n;
    const { interfaces } = this.#options;
    let dropped = lost;
    for (const { index, packets } of interfaces.used()) {
      const comment = index === 0 ? `the capture has ended: ${this.#ending}` : undefined;
      this.#writer.writeStatistics(index, {
        timestampNs,
        received: packets + dropped,
        dropped,
        ...(comment === undefined ? {} : { comment }),
      });
      dropped = 0;
    }
  }
}
