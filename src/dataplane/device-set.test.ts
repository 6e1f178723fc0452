/** Devices of plans, with TUN devices of a network namespace that lives as long as this test. */
import assert from 'node:assert/strict';
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
}
