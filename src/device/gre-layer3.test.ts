/**
 * Segmentation on devices without a link header, of GRE and, for PPP, of plain IP: through a packet socket on a TUN
 * device, read at the TUN's own end, against segments built by hand. And the other way round: coalescing of GRE.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, describe, it } from 'node:test';
import { completeChecksum, type GreFrameShape, parseGreFrame } from '../../test/support/gre-frames.ts';
import { inOwnNamespace } from '../../test/support/own-namespace.ts';
import {
  FRAME_PREFIX_BYTES,
  FRAME_SEGMENT_GRE,
  LINK_HEADER_BYTES,
  VIRTIO_NET_HEADER_BYTES,
} from '../wire/frame.ts';
import { ACK, assertSame, CWR, expectedSegments, FIN, PSH, pattern, superFrame } from './gre.contract.ts';
import { freshName, ip } from './native-io.contract.ts';
import { NativeIo } from './native-io.ts';

/** Looks of 20 ms for what was sent. */
const PATIENCE = 10;

/** Makes a TUN device that says it is PPP: TUNSETIFF (TUN, NO_PI, VNET_HDR), TUNSETLINK (ARPHRD_PPP). */
const POSE_AS_PPP = `
import fcntl, struct, sys
fd = open('/dev/net/tun', 'r+b', buffering=0)
fcntl.ioctl(fd, 0x400454ca, struct.pack('16sH22x', sys.argv[1].encode(), 0x5001))
fcntl.ioctl(fd, 0x400454cd, 512)
`;

interface LinePacket {
  readonly virtio: Uint8Array;
  /** From the IP header on. */
  readonly packet: Uint8Array;
}

/** The same offsets, counted from the IP header of what is left when so many bytes are taken off the front. */
function shiftStart(virtio: Uint8Array, by: number): Uint8Array {
  const shifted = virtio.slice();
  const view = new DataView(shifted.buffer);
  if ((shifted[0]! & 1) !== 0) view.setUint16(6, view.getUint16(6, true) - by, true);
  if (shifted[1] !== 0) view.setUint16(2, view.getUint16(2, true) - by, true);
  return shifted;
}

/** A frame of the shapes, which are Ethernet, without its first bytes. */
function without(bytes: number, { virtio, frame }: { virtio: Uint8Array; frame: Uint8Array }): LinePacket {
  return { virtio: shiftStart(virtio, bytes), packet: frame.subarray(bytes) };
}

/** A TUN device, its own end and a packet socket on it. */
class Line {
  readonly tun = new NativeIo();
  readonly socket = new NativeIo();

  constructor(isPpp: boolean) {
    const name = freshName('hwt');
    if (isPpp) {
      ip('tuntap', 'add', name, 'mode', 'tun', 'vnet_hdr');
      execFileSync('python3', ['-c', POSE_AS_PPP, name]);
    }
    this.tun.addTun(0, name, { mtu: 3000 });
    ip('link', 'set', name, 'up');
    this.socket.addPacket(0, name, { kind: 'ip' });
  }

  /** Sends by the socket; what came out at the other end, checksums completed: `count` packets, or fewer. */
  pass({ virtio, packet }: LinePacket, flags: number, count: number): Uint8Array[] {
    const { tun, socket } = this;
    const memory = socket.memory.bytes;
    memory.set(virtio, 0);
    memory.fill(0xee, VIRTIO_NET_HEADER_BYTES, FRAME_PREFIX_BYTES);
    memory.set(packet, FRAME_PREFIX_BYTES);
    assert.ok(socket.tx.push(0, FRAME_PREFIX_BYTES + packet.length, 0, flags));
    socket.burst(0);
    const packets: Uint8Array[] = [];
    for (let look = 0; look < PATIENCE && packets.length < count; look++) {
      tun.burst(20);
      for (let index = 0; index < tun.rx.count; index++) {
        const offset = tun.rx.offset(index);
        const frame = tun.memory.bytes.slice(offset, offset + tun.rx.lengthBytes(index));
        const bytes = frame.slice(FRAME_PREFIX_BYTES);
        completeChecksum(bytes, frame.subarray(0, VIRTIO_NET_HEADER_BYTES));
        packets.push(bytes);
      }
    }
    return packets;
  }

  /** Sends packets by the TUN's own end, as wire packets; what the socket received in one burst. */
  receive(sent: readonly Uint8Array[]): LinePacket[] {
    const { tun, socket } = this;
    const memory = tun.memory.bytes;
    sent.forEach((packet, index) => {
      const frame = index * 4096;
      memory.fill(0, frame, frame + FRAME_PREFIX_BYTES);
      memory.set(packet, frame + FRAME_PREFIX_BYTES);
      assert.ok(tun.tx.push(frame, FRAME_PREFIX_BYTES + packet.length, 0, 0));
    });
    tun.burst(0);
    const packets: LinePacket[] = [];
    for (let look = 0; look < PATIENCE && packets.length === 0; look++) {
      socket.burst(20);
      for (let index = 0; index < socket.rx.count; index++) {
        const offset = socket.rx.offset(index);
        const frame = socket.memory.bytes.slice(offset, offset + socket.rx.lengthBytes(index));
        const virtio = frame.slice(0, VIRTIO_NET_HEADER_BYTES);
        packets.push({ virtio, packet: frame.slice(FRAME_PREFIX_BYTES) });
      }
    }
    return packets;
  }

  close(): void {
    this.socket.close();
    this.tun.close();
  }
}

if (inOwnNamespace(import.meta.url)) {
  const line = new Line(false);
  const ppp = new Line(true);
  after(() => {
    line.close();
    ppp.close();
  });

  function shapes(extras: readonly Partial<GreFrameShape>[]): GreFrameShape[] {
    const flags = ACK | PSH | FIN | CWR;
    const payload = pattern(5000);
    return ([4, 6] as const).flatMap((outer) =>
      ([4, 6] as const).flatMap((inner) =>
        (['tcp', 'udp'] as const).flatMap((protocol) =>
          extras.map((extra) => ({
            ...{ outer, inner, protocol, payload, innerIdentification: 0xfffe, flags },
            ...extra,
          })),
        ),
      ),
    );
  }

  function assertCut(on: Line, shape: GreFrameShape, gsoSize: number, isPlain: boolean): void {
    const { virtio, bytes: frame } = superFrame(shape, gsoSize);
    const front = isPlain ? parseGreFrame(frame).inner : LINK_HEADER_BYTES;
    const expected = expectedSegments(shape, gsoSize).map((segment) => segment.subarray(front));
    const flags = isPlain ? 0 : FRAME_SEGMENT_GRE;
    assertSame(on.pass(without(front, { virtio, frame }), flags, expected.length), expected);
  }

  describe('segmentation on a layer-3 device', () => {
    it('cuts GRE, in all versions, as built by hand', () => {
      const extras = [{}, { key: 7 }, { key: 7, sequence: 0xfffffffe, checksum: true }];
      for (const shape of shapes(extras)) {
        assertCut(line, shape, 1400, false);
        assertCut(ppp, shape, 1400, false);
      }
      assert.deepEqual([line.socket.txErrors[0], ppp.socket.txErrors[0]], [0, 0]);
    });

    it('cuts the longest GRE packet', () => {
      assertCut(line, { outer: 4, inner: 4, protocol: 'tcp', payload: pattern(65000) }, 1400, false);
    });

    it('leaves plain IP whole, but for PPP', () => {
      for (const shape of shapes([{}])) {
        assertCut(ppp, shape, 1400, true);
        const { virtio, bytes: frame } = superFrame(shape, 1400);
        const whole = without(parseGreFrame(frame).inner, { virtio, frame });
        assert.deepEqual(
          line.pass(whole, 0, 1).map(({ length }) => length),
          [whole.packet.length],
        );
      }
      assert.deepEqual([line.socket.txErrors[0], ppp.socket.txErrors[0]], [0, 0]);
    });

    it('counts, on PPP, a packet that it cannot cut, and sends the next', () => {
      const { virtio, bytes: frame } = superFrame(shapes([{}])[0]!, 1400);
      const damaged = without(parseGreFrame(frame).inner, { virtio, frame });
      damaged.virtio[8] = 5;
      assert.deepEqual(ppp.pass(damaged, 0, 1), []);
      assert.equal(ppp.socket.txErrors[0], 1);
      assertCut(ppp, shapes([{}])[0]!, 1400, true);
    });
  });
  describe('coalescing on a layer-3 device', () => {
    const segmentsOf = (shape: GreFrameShape, gsoSize: number): Uint8Array[] =>
      expectedSegments(shape, gsoSize).map((segment) => segment.subarray(LINK_HEADER_BYTES));

    it('joins the segments of a flow to what would be cut into them', () => {
      for (const outer of [4, 6] as const) {
        for (const inner of [4, 6] as const) {
          for (const extra of [{}, { key: 7 }]) {
            const shape = { outer, inner, protocol: 'tcp', payload: pattern(14_000), ...extra } as const;
            const { virtio, bytes: frame } = superFrame(shape, 1400);
            const expected = without(LINK_HEADER_BYTES, { virtio, frame });
            assert.deepEqual(line.receive(segmentsOf(shape, 1400)), [expected]);
          }
        }
      }
    });

    it('leaves everything else as it was', () => {
      const base = { outer: 4, inner: 4, protocol: 'tcp', payload: pattern(4200), key: 7 } as const;
      const [first, second, third] = segmentsOf(base, 1400);
      const damaged = second!.slice();
      damaged[damaged.length - 1]! ^= 1;
      const notGre = second!.slice();
      notGre[9] = 48;
      const [summed] = segmentsOf({ ...base, checksum: true, tcpSequence: 2400 }, 1400);
      for (const [name, other] of Object.entries({ third: third!, damaged, notGre, summed: summed! })) {
        const received = line.receive([first!, other]);
        assert.deepEqual(
          received.map(({ packet }) => packet),
          [first!, other],
          name,
        );
      }
    });
  });
}
