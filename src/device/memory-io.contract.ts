/** The fixture with which `MemoryIo`, and what wraps it, is held to the contract of burst I/O. */
import type { ContractFixture } from './io.contract.ts';
import { MemoryIo, sentBytes } from './memory-io.ts';

/** A fixture whose far end is the test itself. */
export function memoryFixture(): ContractFixture & { readonly io: MemoryIo } {
  const io = new MemoryIo({ scratchBytes: 2 * 1024 * 1024 });
  io.addDevice(0);
  return {
    io,
    device: 0,
    carriesOffloads: true,
    sendFromFar(packets, virtio = new Uint8Array(10)) {
      for (const packet of packets) {
        const frame = new Uint8Array(24 + packet.length);
        frame.set(virtio);
        frame.set(packet, 24);
        io.inject(0, frame, 'frame');
      }
    },
    receiveAtFar: () =>
      io.takeSent().map((sent) => ({ packet: sentBytes(sent, 'ip'), virtio: sent.frame.slice(0, 10) })),
    deleteDevice: () => io.removeDevice(0, 'gone'),
    close: () => io.close(),
  };
}
