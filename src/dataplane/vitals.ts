/**
 * What the data plane tells of itself in the mapped counters, once a second: how busy its loop is, which ports are
 * up, what devices lost. Control reads it there at any time, and asks nobody.
 *
 * Busy is all time that the loop does not spend waiting for input. Neighbours: `data-plane.ts`, `flow/counters.ts`.
 */
import type { NativeIo } from '../device/native-io.ts';
import {
  COUNTER,
  type Counters,
  DEVICE_RECEIVE_ERRORS,
  DEVICE_SEND_ERRORS,
  PORT_UP,
} from '../flow/counters.ts';
import type { Plan } from '../pipeline/plan.ts';
import type { PortTable } from '../pipeline/port-table.ts';

const INTERVAL_MS = 1000;

export class Vitals {
  private readonly io: NativeIo;
  private toldMs: number;
  private toldAtMs = performance.now();
  private waitedUs: number;
  private bursts = 0;

  constructor(io: NativeIo) {
    this.io = io;
    this.toldMs = io.nowMs;
    this.waitedUs = io.waitedUs;
  }

  /** To be called for every burst. */
  countBurst(): void {
    this.bursts = (this.bursts + 1) | 0;
  }

  /** To be called often; tells once a second. */
  tick(plan: Plan, ports: PortTable, counters: Counters, nowMs: number): void {
    if (((nowMs - this.toldMs) | 0) >= INTERVAL_MS) this.tell(plan, ports, counters);
  }

  /** Tells now. */
  tell(plan: Plan, ports: PortTable, counters: Counters): void {
    const { io } = this;
    const atMs = performance.now();
    const waitedMs = ((io.waitedUs - this.waitedUs) | 0) / 1000;
    counters.add(COUNTER.busy_ms, Math.max(0, atMs - this.toldAtMs - waitedMs));
    counters.add(COUNTER.bursts, this.bursts);
    this.toldMs = io.nowMs;
    this.toldAtMs = atMs;
    this.waitedUs = io.waitedUs;
    this.bursts = 0;
    for (const { index } of plan.ports) counters.setPort(index, PORT_UP, ports.wordOf[index] === 0 ? 0 : 1);
    for (const { index } of plan.devices) {
      counters.setDevice(index, DEVICE_SEND_ERRORS, io.txErrors[index]);
      counters.setDevice(index, DEVICE_RECEIVE_ERRORS, io.rxErrors[index]);
    }
  }
}
