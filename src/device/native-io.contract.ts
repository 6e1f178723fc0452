/**
 * Fixtures with which `NativeIo` is held to the contract of burst I/O: every kind of device, with another
 * `NativeIo` at its far end. They need root and make devices in the current network namespace.
 */
import { execFileSync } from 'node:child_process';
import { type ContractFixture, copyReceived, send } from './io.contract.ts';
import { NativeIo } from './native-io.ts';

/** Ethernet header: to 02:00:00:00:00:02, from 02:00:00:00:00:01, IPv4. */
export const LINK_HEADER = Uint8Array.of(2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00);

/** Empty looks, of 20 ms each, after which nothing more is expected. */
const PATIENCE = 10;
let made = 0;

/** Runs `ip` with these words. */
export function ip(...words: string[]): void {
  execFileSync('ip', words, { stdio: ['ignore', 'ignore', 'pipe'] });
}

/** A device name that is not used yet. */
export function freshName(prefix: string): string {
  made++;
  return `${prefix}${made}`;
}

/** A pair of veth devices, up, without addresses. */
export function makeVeth(): { near: string; far: string } {
  const near = freshName('hwva');
  const far = freshName('hwvb');
  ip('link', 'add', near, 'type', 'veth', 'peer', 'name', far);
  ip('link', 'set', near, 'up');
  ip('link', 'set', far, 'up');
  return { near, far };
}

function fixture(io: NativeIo, far: NativeIo, device: string, linkHeader?: Uint8Array): ContractFixture {
  return {
    io,
    device: 0,
    ...(linkHeader === undefined ? {} : { linkHeader }),
    carriesOffloads: true,
    sendFromFar: (packets, virtio) => send(far, 0, packets, linkHeader, virtio),
    receiveAtFar(count) {
      const frames: { packet: Uint8Array; virtio: Uint8Array }[] = [];
      for (let empty = 0; frames.length < count && empty < PATIENCE; ) {
        empty = far.burst(20) === 0 ? empty + 1 : 0;
        frames.push(...copyReceived(far));
      }
      return frames;
    },
    deleteDevice: () => ip('link', 'del', device),
    close() {
      io.close();
      far.close();
    },
  };
}

function tunAndSocket(): { tun: NativeIo; socket: NativeIo; name: string } {
  const name = freshName('hwt');
  const tun = new NativeIo({ scratchBytes: 1 << 20 });
  tun.addTun(0, name);
  ip('link', 'set', name, 'up');
  const socket = new NativeIo({ scratchBytes: 1 << 20 });
  socket.addPacket(0, name, { kind: 'ip' });
  return { tun, socket, name };
}

/** A TUN device; far end: a packet socket on its network interface. */
export function tunFixture(): ContractFixture {
  const { tun, socket, name } = tunAndSocket();
  return fixture(tun, socket, name);
}

/** A packet socket on a device without link header; far end: the TUN descriptor of that device. */
export function ipFixture(): ContractFixture {
  const { tun, socket, name } = tunAndSocket();
  return fixture(socket, tun, name);
}

/** A packet socket on one end of a veth pair; far end: one on the other. */
export function ethernetFixture(): ContractFixture {
  const { near, far } = makeVeth();
  const io = new NativeIo({ scratchBytes: 1 << 20 });
  io.addPacket(0, near, { kind: 'ethernet' });
  const farIo = new NativeIo({ scratchBytes: 1 << 20 });
  farIo.addPacket(0, far, { kind: 'ethernet' });
  return fixture(io, farIo, near, LINK_HEADER);
}
