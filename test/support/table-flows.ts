/** Flow memories, keys and flows for tests of the table. */
import assert from 'node:assert/strict';
import { FlowMemory, type FlowMemoryOptions, flowMemoryBytes } from '../../src/flow/flow-memory.ts';
import { FLOW_LIVE, FlowKey, keyMeta } from '../../src/flow/layout.ts';
import type { FlowTable } from '../../src/flow/table.ts';
import { TIMEOUT_UDP_NEW } from '../../src/flow/timeouts.ts';
import { FrameMemory } from '../../src/wire/frame.ts';
import { IPV4, PacketView, PROTOCOL_UDP } from '../../src/wire/packet.ts';

/** State of a live flow that was not answered. */
export const LIVE_UDP = FLOW_LIVE | (TIMEOUT_UDP_NEW << 8);

/** An empty flow memory with the smallest sections. */
export function makeMemory(capacity: number, hashSeed: readonly [number, number] = [1, 2]): FlowMemory {
  const options: FlowMemoryOptions = {
    capacity,
    translationBytes: 0,
    heldTupleBytes: 0,
    bootId: '6e0f1c52-8a2b-4f0d-9c3e-7d5b1a2f4e60',
    hashSeed,
  };
  return FlowMemory.create(new ArrayBuffer(flowMemoryBytes(options)), options);
}

/** A key of few possible values: `host` and `port` choose it. IPv6 keys differ in one word each. */
export function makeKey(
  space: number,
  family: number,
  host: number,
  port: number,
  protocol = PROTOCOL_UDP,
): FlowKey {
  const key = new FlowKey();
  key.meta = keyMeta(space, protocol, family);
  key.ports = port | (53 << 16);
  if (family === IPV4) {
    key.src3 = 0x0a000000 | host;
    key.dst3 = 0x08080808;
  } else {
    key.src0 = host & 1;
    key.src1 = (host >> 1) & 1;
    key.src2 = (host >> 2) & 1;
    key.src3 = -1;
    key.dst0 = (host >> 3) & 1;
    key.dst3 = 1;
  }
  return key;
}

/** The key of the reply that a responder in `space` sends. */
export function reversed(key: FlowKey, space: number): FlowKey {
  const reply = new FlowKey();
  reply.src0 = key.dst0;
  reply.src1 = key.dst1;
  reply.src2 = key.dst2;
  reply.src3 = key.dst3;
  reply.dst0 = key.src0;
  reply.dst1 = key.src1;
  reply.dst2 = key.src2;
  reply.dst3 = key.src3;
  reply.ports = (key.ports >>> 16) | (key.ports << 16);
  reply.meta = keyMeta(space, (key.meta >>> 8) & 0xff, key.meta & 0xff);
  return reply;
}

/** A packet with this key's tuple. */
export function viewOf(key: FlowKey): PacketView {
  const view = new PacketView(new FrameMemory(new ArrayBuffer(64)));
  view.src0 = key.src0;
  view.src1 = key.src1;
  view.src2 = key.src2;
  view.src3 = key.src3;
  view.dst0 = key.dst0;
  view.dst1 = key.dst1;
  view.dst2 = key.dst2;
  view.dst3 = key.dst3;
  view.ports = key.ports;
  view.family = key.meta & 0xff;
  view.protocol = (key.meta >>> 8) & 0xff;
  return view;
}

/** Makes a flow and commits it. */
export function addFlow(table: FlowTable, key: FlowKey, state = LIVE_UDP, responderSpace = 9): number {
  const record = table.create(key, reversed(key, responderSpace));
  assert.ok(record >= 0, `create answered ${record}`);
  table.commit(record, state);
  return record;
}
