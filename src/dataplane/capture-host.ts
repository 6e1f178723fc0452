/**
 * Captures on the data plane's side: takes them up and ends them, as control asks, and ends those whose reader is
 * gone.
 *
 * ```
 *  capture-start ─► ring mapped, session at the tap ─┬─ capture-stop ──────────────────────────► ended
 *                                                    └─ the reader's lease is not renewed (3 s) ─► ended
 * ```
 *
 * Neighbours: `pipeline/capture/` (the tap, the ring), `control/capture/` (makes the ring, reads it, asks).
 */
import { statSync } from 'node:fs';
import { mapFile } from '../device/native.ts';
import { CaptureRingWriter, LEASE_MS } from '../pipeline/capture/capture-ring.ts';
import { CaptureSession } from '../pipeline/capture/capture-session.ts';
import { MAX_CAPTURES, type PacketTap } from '../pipeline/capture/packet-tap.ts';
import type { FrameMemory } from '../wire/frame.ts';
import type { CaptureStartMessage } from './messages.ts';

/** A wall clock that is further away from the monotonic one's count was set meanwhile. */
const CLOCK_STEP_MS = 2;

interface RunningCapture {
  readonly id: number;
  readonly session: CaptureSession;
  lease: number;
  renewedMs: number;
}

export class CaptureHost {
  private running: RunningCapture[] = [];
  private tap: PacketTap | undefined;

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
