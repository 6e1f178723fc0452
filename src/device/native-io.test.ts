import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { describe, it } from 'node:test';
import { inOwnNamespace } from '../../test/support/own-namespace.ts';
import { burstIoContract, copyReceived, numberedPacket, receive, writeFrame } from './io.contract.ts';
import { NativeError } from './native.ts';
import {
  ethernetFixture,
  freshName,
  ip,
  ipFixture,
  LINK_HEADER,
  makeVeth,
  tunFixture,
} from './native-io.contract.ts';
import { MAX_DEVICES, NativeIo } from './native-io.ts';

/** Classic BPF: accept if the byte at `offset` is `value`. */
function byteFilter(offset: number, value: number): [number, number, number, number][] {
  return [
    [0x30, 0, 0, offset],
    [0x15, 0, 1, value],
    [0x06, 0, 0, 0x40000],
    [0x06, 0, 0, 0],
  ];
}

function code(expected: string) {
  return (error: unknown) => {
    assert.ok(error instanceof Error && 'code' in error);
    assert.equal(error.code, expected, error.message);
    return true;
  };
}

function sendNumbered(io: NativeIo, device: number, numbers: readonly number[], link?: Uint8Array): void {
  let at = io.scratchOffset;
  for (const number of numbers) {
    const length = writeFrame(io.memory, at, numberedPacket(number, 100), link);
    io.tx.push(at, length, device, 0);
    at += 192;
  }
  io.burst(0);
}

const numberOf = (packet: Uint8Array) => (packet[4]! << 8) | packet[5]!;

if (inOwnNamespace(import.meta.url)) {
  burstIoContract('NativeIo with a TUN device', tunFixture);
  burstIoContract('NativeIo with a packet socket on a veth', ethernetFixture);
  burstIoContract('NativeIo with a packet socket on a device without link header', ipFixture);

  describe('TUN devices', () => {
    it('has the MTU asked for, and survives its descriptor when persistent', () => {
      const name = freshName('hwt');
      const io = new NativeIo();
      const ifindex = io.addTun(5, name, { mtu: 1400, persist: true });
      assert.ok(ifindex > 0);
      io.removeDevice(5);
      assert.equal(io.deviceState(5), 'closed');
      assert.equal(io.addTun(6, name), ifindex);
      ip('link', 'show', 'dev', name);
      const other = new NativeIo();
      assert.throws(() => other.addTun(0, name), code('EBUSY'));
      io.removeDevice(6);
      io.addTun(6, name, { persist: false });
      io.close();
      assert.throws(() => ip('link', 'show', 'dev', name));
    });

    it('goes on working in another namespace', () => {
      const name = freshName('hwt');
      const namespace = `hw-${process.pid}-${Math.floor(Math.random() * 1e6)}`;
      ip('netns', 'add', namespace);
      try {
        const io = new NativeIo();
        io.addTun(0, name);
        ip('link', 'set', name, 'netns', namespace);
        ip('-n', namespace, 'address', 'add', '10.77.0.1/24', 'dev', name);
        ip('-n', namespace, 'link', 'set', name, 'up');
        // An echo request to the far end, by hand: the kernel over there answers it.
        const request = numberedPacket(1, 28);
        request.set([10, 77, 0, 2, 10, 77, 0, 1], 12);
        request.set([8, 0, 0xf7, 0xff, 0, 0, 0, 0], 20);
        request[9] = 1;
        request.set([0, 0], 10);
        let sum = 0;
        for (let at = 0; at < 20; at += 2) sum += (request[at]! << 8) | request[at + 1]!;
        sum = ~((sum & 0xffff) + (sum >>> 16));
        request.set([(sum >> 8) & 255, sum & 255], 10);
        const length = writeFrame(io.memory, io.scratchOffset, request);
        io.tx.push(io.scratchOffset, length, 0, 0);
        const replies = receive(io, 1).filter(({ packet }) => packet[9] === 1);
        assert.equal(replies.length, 1);
        assert.equal(replies[0]!.packet[20], 0);
        assert.deepEqual([...replies[0]!.packet.slice(12, 20)], [10, 77, 0, 1, 10, 77, 0, 2]);
        io.close();
      } finally {
        ip('netns', 'del', namespace);
      }
    });

    it('refuses names and indices that cannot be', () => {
      const io = new NativeIo();
      assert.throws(() => io.addTun(0, 'sixteen-letters-'), code('EINVAL'));
      assert.throws(() => io.addTun(0, ''), code('EINVAL'));
      assert.throws(() => io.addTun(MAX_DEVICES, 'hwx'), code('ERANGE'));
      io.addTun(0, freshName('hwt'));
      assert.throws(() => io.addTun(0, freshName('hwt')), code('EEXIST'));
      io.close();
    });

    it('counts frames for a device that is down, and sends again when it is up', () => {
      const name = freshName('hwt');
      const io = new NativeIo();
      io.addTun(0, name);
      sendNumbered(io, 0, [1, 2]);
      assert.equal(io.txErrors[0], 2);
      assert.equal(io.deviceState(0), 'open');
      ip('link', 'set', name, 'up');
      sendNumbered(io, 0, [3]);
      assert.equal(io.txErrors[0], 2);
      io.close();
    });
  });

  describe('packet sockets', () => {
    it('take what the filter accepts, and nothing from before it', () => {
      const { near, far } = makeVeth();
      const farIo = new NativeIo();
      farIo.addPacket(0, far, { kind: 'ethernet' });
      const io = new NativeIo();
      // Low byte of the IPv4 identification, behind the Ethernet header.
      io.addPacket(0, near, { kind: 'ethernet', filter: byteFilter(14 + 5, 7) });
      sendNumbered(farIo, 0, [5, 6, 7, 8, 7 + 256], LINK_HEADER);
      assert.deepEqual(
        receive(io, 2).map(({ packet }) => numberOf(packet)),
        [7, 263],
      );
      assert.equal(io.burst(50), 0);
      io.close();
      farIo.close();
    });

    it('take another filter without losing what has come already', () => {
      const { near, far } = makeVeth();
      const farIo = new NativeIo();
      farIo.addPacket(0, far, { kind: 'ethernet' });
      const io = new NativeIo();
      io.addPacket(0, near, { kind: 'ethernet', filter: byteFilter(14 + 5, 7) });
      sendNumbered(farIo, 0, [7, 8], LINK_HEADER);
      io.setFilter(0, byteFilter(14 + 5, 8));
      sendNumbered(farIo, 0, [7 + 256, 8 + 256], LINK_HEADER);
      assert.deepEqual(
        receive(io, 2).map(({ packet }) => numberOf(packet)),
        [7, 8 + 256],
      );
      assert.throws(() => io.setFilter(0, [[0xff, 0, 0, 0]]), { code: 'EINVAL' });
      sendNumbered(farIo, 0, [7, 8], LINK_HEADER);
      assert.deepEqual(
        receive(io, 1).map(({ packet }) => numberOf(packet)),
        [8],
      );
      assert.throws(() => io.setFilter(1, byteFilter(14 + 5, 8)), { code: 'ENODEV' });
      io.close();
      farIo.close();
    });

    it('do not see what is sent by the host itself', () => {
      const { near, far } = makeVeth();
      const io = new NativeIo();
      io.addPacket(0, near, { kind: 'ethernet' });
      io.addPacket(1, near, { kind: 'ethernet' });
      const farIo = new NativeIo();
      farIo.addPacket(0, far, { kind: 'ethernet' });
      sendNumbered(io, 0, [1], LINK_HEADER);
      assert.equal(receive(farIo, 1).length, 1);
      assert.equal(io.rx.count, 0);
      assert.equal(io.burst(50), 0);
      io.close();
      farIo.close();
    });

    it('refuse a device of the other kind, one that is not there, and a wrong filter', () => {
      const { near } = makeVeth();
      const tun = freshName('hwt');
      const io = new NativeIo();
      io.addTun(0, tun);
      assert.throws(() => io.addPacket(1, tun, { kind: 'ethernet' }), code('EINVAL'));
      assert.throws(() => io.addPacket(1, near, { kind: 'ip' }), code('EINVAL'));
      assert.throws(() => io.addPacket(1, 'hw-none', { kind: 'ip' }), code('ENODEV'));
      assert.throws(
        () => io.addPacket(1, near, { kind: 'ethernet', filter: [[0xff, 0, 0, 0]] }),
        (error) => error instanceof NativeError && error.step === 'SO_ATTACH_FILTER',
      );
      assert.equal(io.deviceState(1), 'closed');
      io.close();
    });

    it('survive that the device is set down and up', () => {
      const { near, far } = makeVeth();
      const io = new NativeIo();
      const farIo = new NativeIo();
      io.addPacket(0, near, { kind: 'ethernet' });
      farIo.addPacket(0, far, { kind: 'ethernet' });
      ip('link', 'set', near, 'down');
      sendNumbered(io, 0, [1, 2], LINK_HEADER);
      io.burst(0);
      assert.equal(io.txErrors[0], 2);
      assert.equal(io.deviceState(0), 'open');
      ip('link', 'set', near, 'up');
      // The kernel starts a queue some time after the carrier came.
      for (let look = 0; look < 100 && farIo.burst(20) === 0; look++) sendNumbered(io, 0, [3], LINK_HEADER);
      assert.equal(numberOf(copyReceived(farIo)[0]!.packet), 3);
      sendNumbered(farIo, 0, [4], LINK_HEADER);
      assert.equal(numberOf(receive(io, 1)[0]!.packet), 4);
      io.close();
      farIo.close();
    });

    it('are found gone when the device was deleted after it had been set down', () => {
      const { near } = makeVeth();
      const io = new NativeIo();
      io.addPacket(0, near, { kind: 'ethernet' });
      io.checkDevice(0);
      assert.equal(io.deviceState(0), 'open');
      ip('link', 'set', near, 'down');
      io.burst(50);
      ip('link', 'del', near);
      io.burst(50);
      // The kernel has told of the device once only, when it went down.
      io.checkDevice(0);
      assert.equal(io.deviceState(0), 'gone');
      io.close();
    });

    it('are gone when the device is moved to another namespace', () => {
      const { near, far } = makeVeth();
      const namespace = `hw-${process.pid}-${Math.floor(Math.random() * 1e6)}`;
      const io = new NativeIo();
      io.addPacket(0, near, { kind: 'ethernet' });
      io.addPacket(1, far, { kind: 'ethernet' });
      ip('netns', 'add', namespace);
      try {
        ip('link', 'set', near, 'netns', namespace);
        io.burst(50);
        assert.equal(io.deviceState(0), 'gone');
        assert.equal(io.deviceState(1), 'open');
      } finally {
        ip('netns', 'del', namespace);
        io.close();
      }
    });
  });

  describe('NativeIo', () => {
    it('keeps the order of each device, and serves all in turn', () => {
      const { near, far } = makeVeth();
      const second = makeVeth();
      const tun = freshName('hwt');
      const io = new NativeIo({ rxFrames: 128 });
      const farIo = new NativeIo();
      io.addPacket(0, near, { kind: 'ethernet' });
      io.addPacket(1, second.near, { kind: 'ethernet' });
      io.addTun(2, tun);
      ip('link', 'set', tun, 'up');
      farIo.addPacket(0, far, { kind: 'ethernet' });
      farIo.addPacket(1, second.far, { kind: 'ethernet' });
      farIo.addPacket(2, tun, { kind: 'ip' });
      // Interleaved in one burst.
      let at = 0;
      for (let number = 0; number < 300; number++) {
        for (let device = 0; device < 3; device++) {
          const link = device === 2 ? undefined : LINK_HEADER;
          farIo.tx.push(at, writeFrame(farIo.memory, at, numberedPacket(number, 100), link), device, 0);
          at += 192;
        }
      }
      farIo.burst(0);
      const perBurst: number[][] = [];
      const frames = receive(io, 900, (received) => {
        perBurst.push([0, 1, 2].map((device) => received.filter((frame) => frame.device === device).length));
      });
      for (let device = 0; device < 3; device++) {
        assert.deepEqual(
          frames.filter((frame) => frame.device === device).map(({ packet }) => numberOf(packet)),
          Array.from({ length: 300 }, (_, number) => number),
        );
      }
      // A burst holds two turns of 64: after two of them, all three devices had one.
      const early = perBurst[0]!.map((count, device) => count + perBurst[1]![device]!);
      assert.ok(Math.min(...early) >= 64, JSON.stringify(perBurst));
      io.close();
      farIo.close();
    });

    it('ends a burst by its bytes', () => {
      const io = new NativeIo({ rxByteQuota: 4096 });
      const { near, far } = makeVeth();
      io.addPacket(0, near, { kind: 'ethernet' });
      const tun = freshName('hwt');
      io.addTun(1, tun);
      ip('link', 'set', tun, 'up');
      const farIo = new NativeIo();
      farIo.addPacket(0, far, { kind: 'ethernet' });
      farIo.addPacket(1, tun, { kind: 'ip' });
      sendNumbered(farIo, 0, [1, 2, 3], LINK_HEADER);
      for (let number = 0; number < 60; number++) {
        const at = number * 2048;
        farIo.tx.push(at, writeFrame(farIo.memory, at, numberedPacket(number, 1500)), 1, 0);
      }
      farIo.burst(0);
      const counts: number[] = [];
      receive(io, 63, (received) => counts.push(received.length));
      assert.equal(
        counts.reduce((a, b) => a + b),
        63,
      );
      assert.ok(counts[0]! < 63, `${counts}`);
      io.close();
      farIo.close();
    });

    it('refuses descriptors outside of its memory', () => {
      const { near } = makeVeth();
      const io = new NativeIo();
      io.addPacket(0, near, { kind: 'ethernet' });
      const end = io.memory.buffer.byteLength;
      const wrong = [
        [end - 10, 100],
        [end + 8, 100],
        [-8, 100],
        [0, 24],
        [0, -1],
        [0, 0x7fffffff],
      ] as const;
      for (const [offset, length] of wrong) io.tx.push(offset, length, 0, 0);
      io.tx.push(0, 100, -1, 0);
      io.tx.push(0, 100, MAX_DEVICES, 0);
      io.burst(0);
      assert.equal(io.txErrors[0], wrong.length);
      io.close();
    });

    it('gives back every descriptor when it is closed', () => {
      const count = () => readdirSync('/proc/self/fd').length;
      const { near } = makeVeth();
      const before = count();
      for (let round = 0; round < 5; round++) {
        const io = new NativeIo();
        io.addTun(0, freshName('hwt'));
        io.addPacket(1, near, { kind: 'ethernet' });
        assert.throws(() => io.addPacket(2, near, { kind: 'ip' }));
        io.close();
        assert.equal(io.burst(0), 0);
        assert.equal(io.deviceState(0), 'closed');
        io.close();
      }
      assert.equal(count(), before);
    });

    it('takes a frame in place from device to device', () => {
      const fixture = ethernetFixture();
      const tun = tunFixture();
      const io = fixture.io as NativeIo;
      const name = freshName('hwt');
      io.addTun(1, name);
      ip('link', 'set', name, 'up');
      const socket = new NativeIo();
      socket.addPacket(0, name, { kind: 'ip' });
      const sent = [numberedPacket(1, 60), numberedPacket(2, 1500)];
      fixture.sendFromFar(sent);
      const received: Uint8Array[] = [];
      for (let look = 0; look < 50 && received.length < 2; look++) {
        io.burst(20);
        for (let index = 0; index < io.rx.count; index++) {
          io.tx.push(io.rx.offset(index), io.rx.lengthBytes(index), 1, 0);
        }
        io.burst(0);
        socket.burst(20);
        received.push(...copyReceived(socket).map(({ packet }) => packet));
      }
      assert.deepEqual(received, sent);
      fixture.close();
      tun.close();
      socket.close();
    });
  });
}
