/**
 * The devices of the plan: opens them, closes what is no longer wanted, and tries again once a second what is not
 * there. A device that vanishes, or loses its carrier, takes its ports down (their flows wait) and brings them up when
 * it is back.
 */
import type { NativeIo } from '../device/native-io.ts';
import type { Plan, PlanDevice } from '../pipeline/plan.ts';

const RETRY_MS = 1000;
/** A device without carrier is looked at more often: what arrives before that is noticed is dropped. */
const CARRIER_MS = 100;

export interface DeviceEvents {
  onUp(device: PlanDevice): void;
  onDown(device: PlanDevice, why: string): void;
}

interface OpenDevice {
  spec: PlanDevice;
  isOpen: boolean;
  /** Open, and packets can pass. */
  up: boolean;
  /** Why it is not up; logged when it changes. */
  problem: string;
}

export class DeviceSet {
  private readonly io: NativeIo;
  private readonly events: DeviceEvents;
  private readonly devices = new Map<number, OpenDevice>();
  private triedMs = 0;
  private lookedMs = 0;

  constructor(io: NativeIo, events: DeviceEvents) {
    this.io = io;
    this.events = events;
  }

  /**
   * Takes the devices of a plan. Those that are still the same stay open and lose no packet, also with another
   * filter: an uplink's tells the tunnels apart, and one more must not disturb the others.
   */
  apply(plan: Plan, nowMs: number): void {
    const wanted = new Map(plan.devices.map((device) => [device.index, device]));
    for (const [index, open] of this.devices) {
      const spec = wanted.get(index);
      if (spec !== undefined && this.keep(open, spec)) continue;
      this.close(index);
      this.devices.delete(index);
    }
    for (const spec of plan.devices) {
      if (this.devices.has(spec.index)) continue;
      this.devices.set(spec.index, { spec, isOpen: false, up: false, problem: '' });
    }
    this.triedMs = nowMs;
    for (const device of this.devices.values()) if (!device.isOpen) this.open(device);
  }

  /** Notices devices that are gone or silent, and tries to open those that are closed. */
  tick(nowMs: number): void {
    const isDue = ((nowMs - this.triedMs) | 0) >= RETRY_MS;
    const looks = ((nowMs - this.lookedMs) | 0) >= CARRIER_MS;
    if (looks) this.lookedMs = nowMs;
    for (const device of this.devices.values()) {
      if (!device.isOpen) continue;
      if (isDue || (looks && !device.up)) this.look(device);
      // Noticed here, or by the burst that sent to it or received from it.
      if (this.io.deviceState(device.spec.index) === 'open') continue;
      device.isOpen = false;
      this.close(device.spec.index);
      this.setDown(device, 'the device is gone');
    }
    if (!isDue) return;
    this.triedMs = nowMs;
    for (const device of this.devices.values()) if (!device.isOpen) this.open(device);
  }

  isUp(index: number): boolean {
    return this.devices.get(index)?.up ?? false;
  }

  specs(): PlanDevice[] {
    return [...this.devices.values()].map((device) => device.spec);
  }

  /** Whether what is open does for `spec`, after a change of its filter if need be. */
  private keep(device: OpenDevice, spec: PlanDevice): boolean {
    const former = device.spec;
    if (identityOf(former) !== identityOf(spec)) return false;
    device.spec = spec;
    if (!device.isOpen || JSON.stringify(former.filter) === JSON.stringify(spec.filter)) return true;
    if (former.filter === undefined || spec.filter === undefined) return false;
    try {
      this.io.setFilter(spec.index, spec.filter);
      return true;
    } catch {
      return false;
    }
  }

  /** What waits to be sent goes with the device: another one may be opened by its number before the next burst. */
  private close(index: number): void {
    this.io.removeDevice(index);
    this.io.txErrors[index] += this.io.tx.discard(index);
  }

  private open(device: OpenDevice): void {
    const { spec } = device;
    try {
      if (spec.kind === 'tun') this.io.addTun(spec.index, spec.name, { mtu: spec.mtu });
      else {
        this.io.addPacket(spec.index, spec.name, {
          kind: spec.kind,
          ...(spec.filter === undefined ? {} : { filter: spec.filter }),
        });
      }
      device.isOpen = true;
    } catch (error) {
      this.setDown(device, (error as Error).message);
      return;
    }
    this.look(device);
  }

  /** Whether packets can pass by an open device. */
  private look(device: OpenDevice): void {
    if (!this.io.checkDevice(device.spec.index)) {
      this.setDown(device, 'it is down, or has no carrier');
      return;
    }
    if (device.up) return;
    device.up = true;
    device.problem = '';
    this.events.onUp(device.spec);
  }

  private setDown(device: OpenDevice, problem: string): void {
    device.up = false;
    if (problem === device.problem) return;
    device.problem = problem;
    this.events.onDown(device.spec, problem);
  }
}

/** What cannot change while a device is open. The MTU is the host's to set; a TUN device's is set when it is opened. */
function identityOf({ name, kind, mac, mtu }: PlanDevice): string {
  return JSON.stringify([name, kind, mac, kind === 'tun' ? mtu : 0]);
}
