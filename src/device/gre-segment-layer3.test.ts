/**
 * Segmentation of GRE on a device without a link header: through a packet socket on a TUN device, read at the
 * TUN's own end, against segments built by hand.
 */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { completeChecksum, type GreFrameShape } from '../../test/support/gre-frames.ts';
import { inOwnNamespace } from '../../test/support/own-namespace.ts';
import { FRAME_SEGMENT_GRE, LINK_HEADER_BYTES, VIRTIO_NET_HEADER_BYTES } from '../wire/frame.ts';
import { ACK, assertSame, CWR, expectedSegments, FIN, PSH, pattern, superFrame } from './gre.contract.ts';
import { freshName, ip } from './native-io.contract.ts';
import { NativeIo } from './native-io.ts';

/** Looks of 20 ms for what was sent. */
const PATIENCE = 10;

/** Offsets in a virtio-net header count from the IP header here, from the Ethernet header in the shapes. */
function shiftStart(virtio: Uint8Array, by: number): Uint8Array {
  const shifted = virtio.slice();
  const view = new DataView(shifted.buffer);
  if ((shifted[0]! & 1) === 0) return shifted;
  view.setUint16(6, view.getUint16(6, true) + by, true);
  if (shifted[1] !== 0) view.setUint16(2, view.getUint16(2, true) + by, true);
  return shifted;
}

if (inOwnNamespace(import.meta.url)) {
  const name = freshName('hwt');
  const tun = new NativeIo();
  tun.addTun(0, name, { mtu: 3000 });
  ip('link', 'set', name, 'up');
  const socket = new NativeIo();
  socket.addPacket(0, name, { kind: 'ip' });
  after(() => {
    socket.close();
    tun.close();
  });

  /** Sends a super-packet; the packets that came out, with an Ethernet header of zeros and checksums completed. */
  function cut(shape: GreFrameShape, gsoSize: number, count: number): Uint8Array[] {
    const { bytes, virtio } = superFrame(shape, gsoSize);
    const memory = socket.memory.bytes;
    memory.set(shiftStart(virtio, -LINK_HEADER_BYTES), 0);
    memory.set(bytes, VIRTIO_NET_HEADER_BYTES);
    memory.fill(0xee, VIRTIO_NET_HEADER_BYTES, VIRTIO_NET_HEADER_BYTES + LINK_HEADER_BYTES);
    assert.ok(socket.tx.push(0, VIRTIO_NET_HEADER_BYTES + bytes.length, 0, FRAME_SEGMENT_GRE));
    socket.burst(0);
    const packets: Uint8Array[] = [];
    for (let look = 0; look < PATIENCE && packets.length < count; look++) {
      tun.burst(20);
      for (let index = 0; index < tun.rx.count; index++) {
        const offset = tun.rx.offset(index);
        const frame = tun.memory.bytes.slice(offset, offset + tun.rx.lengthBytes(index));
        const packet = frame.subarray(VIRTIO_NET_HEADER_BYTES);
        packet.fill(0, 0, LINK_HEADER_BYTES);
        completeChecksum(packet, shiftStart(frame.slice(0, VIRTIO_NET_HEADER_BYTES), LINK_HEADER_BYTES));
        packets.push(packet);
      }
    }
    return packets;
  }

  describe('GRE segmentation on a layer-3 device', () => {
    it('cuts TCP and UDP, in all versions, as built by hand', () => {
      const payload = pattern(5000);
      for (const outer of [4, 6] as const) {
        for (const inner of [4, 6] as const) {
          for (const protocol of ['tcp', 'udp'] as const) {
            for (const extra of [{}, { key: 7 }, { key: 7, sequence: 0xfffffffe, checksum: true }]) {
              const flags = ACK | PSH | FIN | CWR;
              const shape = { outer, inner, protocol, payload, innerIdentification: 0xfffe, flags, ...extra };
              const expected = expectedSegments(shape, 1400);
              for (const segment of expected) segment.fill(0, 0, LINK_HEADER_BYTES);
              assertSame(cut(shape, 1400, expected.length), expected);
            }
          }
        }
      }
      assert.equal(socket.txErrors[0], 0);
    });

    it('cuts the longest packet', () => {
      const shape = { outer: 4, inner: 4, protocol: 'tcp', payload: pattern(65000) } as const;
      const expected = expectedSegments(shape, 1400);
      for (const segment of expected) segment.fill(0, 0, LINK_HEADER_BYTES);
      assertSame(cut(shape, 1400, expected.length), expected);
    });
  });
}
