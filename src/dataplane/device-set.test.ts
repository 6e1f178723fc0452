/** Devices of plans, with TUN devices of a network namespace that lives as long as this test. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { it } from 'node:test';
import { inOwnNamespace } from '../../test/support/own-namespace.ts';
import { NativeIo } from '../device/native-io.ts';
import type { Plan, PlanDevice } from '../pipeline/plan.ts';
import { FRAME_PREFIX_BYTES } from '../wire/frame.ts';
import { DeviceSet } from './device-set.ts';

const tun = (index: number, name: string): PlanDevice => ({ index, name, kind: 'tun', mtu: 1500 });
const planOf = (...devices: PlanDevice[]): Plan => ({ devices }) as unknown as Plan;

if (inOwnNamespace(import.meta.url)) {
  it('sends nothing that was meant for the device which had a number before', () => {
    const io = new NativeIo();
    const devices = new DeviceSet(io, { onUp: () => {}, onDown: (_, why) => assert.fail(why) });
    devices.apply(planOf(tun(1, 'stays'), tun(2, 'paris')), io.nowMs);
    io.burst(0);
    io.tx.push(io.scratchOffset, FRAME_PREFIX_BYTES + 40, 2, 0);
    io.tx.push(io.scratchOffset, FRAME_PREFIX_BYTES + 40, 1, 0);
    devices.apply(planOf(tun(1, 'stays'), tun(2, 'lyon')), io.nowMs);
    assert.equal(devices.isUp(2), true);
    assert.deepEqual([io.tx.count, io.tx.device(0)], [1, 1]);
    assert.equal(io.txErrors[2], 1);
    io.close();
  });

  it('keeps what it has received when the filter of a device changes', () => {
    execFileSync('ip', ['link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'up1']);
    for (const name of ['up0', 'up1']) execFileSync('ip', ['link', 'set', name, 'up']);
    const io = new NativeIo();
    const devices = new DeviceSet(io, { onUp: () => {}, onDown: (_, why) => assert.fail(why) });
    const uplink = (filter: PlanDevice['filter']): PlanDevice => {
      return { index: 1, name: 'up0', kind: 'ethernet', mtu: 1500, filter: filter! };
    };
    const take = [0x06, 0, 0, 0xffff] as const;
    devices.apply(planOf(uplink([take])), io.nowMs);
    const far = new NativeIo();
    far.addPacket(0, 'up1', { kind: 'ethernet' });
    far.tx.push(far.scratchOffset, FRAME_PREFIX_BYTES + 40, 0, 0);
    far.burst(0);
    devices.apply(planOf(uplink([[0x00, 0, 0, 0], take])), io.nowMs);
    const deadline = performance.now() + 2000;
    while (io.burst(50) === 0) assert.ok(performance.now() < deadline, 'the frame is lost');
    assert.equal(io.rx.count, 1);
    io.close();
    far.close();
  });
}
