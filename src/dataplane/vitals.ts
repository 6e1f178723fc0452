/**
 * What the data plane tells of itself in the mapped counters, once a second: how busy its loop is, which ports are
 * up and whether their next hops answer, what devices lost. Control reads it there at any time, and asks nobody.
 *
 * Busy is all time that the loop does not spend waiting for input. Neighbours: `data-plane.ts`, `flow/counters.ts`.
 */
import type { NativeIo } from '../device/native-io.ts';
import {
  COUNTER,
  DEVICE_RECEIVE_ERRORS,
  DEVICE_SEND_ERRORS,
  NEXT_HOP_ASKED,
  NEXT_HOP_BITS,
  PORT_NEXT_HOPS,
  PORT_UP,
} from '../flow/counters.ts';
import type { Assembly } from '../pipeline/assembly.ts';
import type { Plan } from '../pipeline/plan.ts';

const INTERVAL_MS = 1000;
/** While a next hop has been asked and has not answered. */
const ASKED_INTERVAL_MS = 50;
/** Of both families. */
const ASKED = NEXT_HOP_ASKED | (NEXT_HOP_ASKED << NEXT_HOP_BITS);

export class Vitals {
  private readonly io: NativeIo;
  private toldMs: number;
  private toldAtMs = performance.now();
  private waitedUs: number;
  private bursts = 0;
  private portsToldMs: number;
  /** Whether a next hop may answer at any moment. */
  private awaitsAnswers = false;

  constructor(io: NativeIo) {
    this.io = io;
    this.toldMs = io.nowMs;
    this.portsToldMs = io.nowMs;
    this.waitedUs = io.waitedUs;
  }

  /** To be called for every burst. */
  countBurst(): void {
    this.bursts = (this.bursts + 1) | 0;
  }

  /** To be called often; tells once a second. */
  tick(plan: Plan, assembly: Assembly, nowMs: number): void {
    if (((nowMs - this.toldMs) | 0) >= INTERVAL_MS) this.tell(plan, assembly, nowMs);
    else if (this.awaitsAnswers && ((nowMs - this.portsToldMs) | 0) >= ASKED_INTERVAL_MS) {
      this.tellPorts(plan, assembly, nowMs);
    }
  }

  /** Tells now. */
  tell(plan: Plan, assembly: Assembly, nowMs: number): void {
    const { io } = this;
    const { counters } = assembly;
    const atMs = performance.now();
    const waitedMs = ((io.waitedUs - this.waitedUs) | 0) / 1000;
    counters.add(COUNTER.busy_ms, Math.max(0, atMs - this.toldAtMs - waitedMs));
    counters.add(COUNTER.bursts, this.bursts);
    this.toldMs = io.nowMs;
    this.toldAtMs = atMs;
    this.waitedUs = io.waitedUs;
    this.bursts = 0;
    this.tellPorts(plan, assembly, nowMs);
    for (const { index } of plan.devices) {
      counters.setDevice(index, DEVICE_SEND_ERRORS, io.txErrors[index]);
      counters.setDevice(index, DEVICE_RECEIVE_ERRORS, io.rxErrors[index]);
    }
  }

  private tellPorts(plan: Plan, assembly: Assembly, nowMs: number): void {
    this.portsToldMs = nowMs;
    this.awaitsAnswers = false;
    for (const { index } of plan.ports) this.tellPort(index, assembly, nowMs);
  }

  /** Tells of one port, whose device has come or gone. */
  tellPort(index: number, { counters, ports, link }: Assembly, nowMs: number): void {
    const isUp = ports.wordOf[index] !== 0;
    const nextHops = isUp ? link.watchNextHops(index, nowMs) : 0;
    if ((nextHops & ASKED) !== 0) this.awaitsAnswers = true;
    counters.setPort(index, PORT_NEXT_HOPS, nextHops);
    counters.setPort(index, PORT_UP, isUp ? 1 : 0);
  }
}
