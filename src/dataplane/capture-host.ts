/**
 * Captures on the data plane's side: takes them up and ends them, as control asks, and ends those whose reader is
 * gone.
 *
 * ```
 *  capture-start ─► ring mapped, session at the tap ─┬─ capture-stop ──────────────────────────► ended
 *                                                    └─ the reader's lease is not renewed (3 s) ─► ended
 * ```
 *
 * The compiler makes no code for what never ran, and throws code away that turns out to leave something out: a first
 * capture under load would make the whole pipeline slow for a third of a second (seen: single bursts of 50 ms), and
 * packets would be lost. So the first packets of a data plane's life are captured, every other burst, into a ring that
 * nobody reads: then both ways are known before either is compiled.
 *
 * Neighbours: `pipeline/capture/` (the tap, the ring), `control/capture/` (makes the ring, reads it, asks).
 */
import { statSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { mapFile } from '../device/native.ts';
import {
  CaptureRingReader,
  CaptureRingWriter,
  captureRingBytes,
  formatCaptureRing,
  LEASE_MS,
} from '../pipeline/capture/capture-ring.ts';
import { CaptureSession } from '../pipeline/capture/capture-session.ts';
import { NO_FILTER } from '../pipeline/capture/filter-program.ts';
import { MAX_CAPTURES, type PacketTap } from '../pipeline/capture/packet-tap.ts';
import type { FrameMemory } from '../wire/frame.ts';
import type { CaptureStartMessage } from './messages.ts';

/** A wall clock that is further away from the monotonic one's count was set meanwhile. */
const CLOCK_STEP_MS = 2;

/** Packets of the warm-up. Most are received before the compiler is done. */
const WARM_UP_PACKETS = 65_536;
const WARM_UP_RING_BYTES = 1024 * 1024;

interface RunningCapture {
  readonly id: number;
  readonly session: CaptureSession;
  lease: number;
  renewedMs: number;
}

export class CaptureHost {
  private running: RunningCapture[] = [];
  private tap: PacketTap | undefined;
  private warmUpLeft = WARM_UP_PACKETS;
  private warmUpRing: WarmUpRing | undefined;

  constructor() {
    // What was compiled in the warm-up is there when it is needed, be it in a year.
    setFlagsFromString('--no-flush-bytecode');
  }

  /** Whether the warm-up is not over. */
  get isCold(): boolean {
    return this.warmUpLeft > 0;
  }

  /** Before the frames of a burst are processed: captures them, or does not, in turn. */
  warmUp(tap: PacketTap, memory: FrameMemory, frames: number): void {
    this.warmUpLeft -= frames;
    // A capture that was asked for does the same.
    if (this.isActive || frames === 0) return;
    this.tap = tap;
    this.warmUpRing ??= new WarmUpRing(memory);
    this.warmUpRing.reader.skip();
    tap.setSessions(this.isCold && tap.active === 0 ? [this.warmUpRing.session] : []);
    if (!this.isCold) this.warmUpRing = undefined;
  }

  /** Whether there is any capture. */
  get isActive(): boolean {
    return this.running.length > 0;
  }

  /** Takes a capture up. @returns why it cannot be, or an empty string */
  start(message: CaptureStartMessage, tap: PacketTap, memory: FrameMemory, nowMs: number): string {
    if (this.running.length >= MAX_CAPTURES) return `${MAX_CAPTURES} captures run already`;
    try {
      const ring = new CaptureRingWriter(mapFile(message.ringPath, statSync(message.ringPath).size));
      const session = new CaptureSession(memory, ring, message.selection);
      this.running.push({ id: message.id, session, lease: session.lease, renewedMs: nowMs });
    } catch (error) {
      return (error as Error).message;
    }
    this.tap = tap;
    this.setSessions();
    this.beforeBurst();
    return '';
  }

  stop(id: number): void {
    this.endWhere((capture) => capture.id === id);
  }

  /** Tells the tap what time it is: once for all packets of a burst. To be called while there is a capture. */
  beforeBurst(): void {
    const monotonic = performance.timeOrigin + performance.now();
    const wall = Date.now();
    const now = Math.abs(wall - monotonic) > CLOCK_STEP_MS ? wall : monotonic;
    const seconds = Math.floor(now / 1000);
    this.tap?.setTime(seconds | 0, Math.floor((now - seconds * 1000) * 1000));
  }

  /** Ends captures whose reader is gone. */
  tick(nowMs: number): void {
    for (const capture of this.running) {
      const { lease } = capture.session;
      if (lease === capture.lease) continue;
      capture.lease = lease;
      capture.renewedMs = nowMs;
    }
    this.endWhere(({ renewedMs }) => ((nowMs - renewedMs) | 0) >= LEASE_MS);
  }

  private endWhere(isOver: (capture: RunningCapture) => boolean): void {
    const over = this.running.filter(isOver);
    if (over.length === 0) return;
    this.running = this.running.filter((capture) => !over.includes(capture));
    this.setSessions();
    for (const { session } of over) session.close();
  }

  private setSessions(): void {
    this.tap?.setSessions(this.running.map(({ session }) => session));
  }
}

/** A ring in this process's own memory, and a session that writes everything into it. */
class WarmUpRing {
  readonly reader: CaptureRingReader;
  readonly session: CaptureSession;

  constructor(memory: FrameMemory) {
    const buffer = new ArrayBuffer(captureRingBytes(WARM_UP_RING_BYTES));
    formatCaptureRing(buffer);
    this.reader = new CaptureRingReader(buffer);
    const everything = {
      ports: null,
      dropped: null,
      flow: 0,
      filter: NO_FILTER,
      snapBytes: 65_535,
      exact: false,
    };
    this.session = new CaptureSession(memory, new CaptureRingWriter(buffer), everything);
  }
}
