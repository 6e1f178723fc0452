/**
 * A VICI daemon of a test's own making: a real socket, behind which anything may be answered, or nothing.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { encodeMessage, type ViciInput } from '../../src/vici/message.ts';

export const RESPONSE = 1;
export const CONFIRM = 5;
const EVENT = 7;

const names = (...list: readonly string[]): ViciInput => Object.fromEntries(list.map((name) => [name, '']));
/** What a daemon may say of itself when it is asked for its algorithms. */
export const ALGORITHMS: ViciInput = {
  encryption: names('AES_CBC'),
  aead: names('AES_GCM_16'),
  integrity: names('HMAC_SHA2_256_128'),
  prf: names('PRF_HMAC_SHA2_384', 'PRF_HMAC_SHA2_256'),
  ke: names('ECP_384', 'ECP_256', 'MODP_2048'),
};

/** A packet with its length in front. */
export function packet(type: number, rest: Uint8Array = Buffer.of()): Buffer {
  const header = Buffer.alloc(5);
  header.writeUInt32BE(1 + rest.length);
  header[4] = type;
  return Buffer.concat([header, rest]);
}

export function response(message: ViciInput): Buffer {
  return packet(RESPONSE, encodeMessage(message));
}

export function event(name: string, message: ViciInput): Buffer {
  return packet(EVENT, Buffer.concat([Buffer.of(name.length), Buffer.from(name), encodeMessage(message)]));
}

/** What the server does with each packet that it gets: its type (0: a command), the name, and what is behind it. */
export type Daemon = (socket: Socket, type: number, name: string, message: Uint8Array) => void;

export class ViciServer {
  readonly connections = new Set<Socket>();
  readonly #server: Server;

  constructor(daemon: Daemon) {
    this.#server = createServer((socket) => {
      this.connections.add(socket);
      let held = Buffer.alloc(0);
      socket.on('error', () => {});
      socket.on('close', () => this.connections.delete(socket));
      socket.on('data', (chunk: Buffer) => {
        held = Buffer.concat([held, chunk]);
        while (held.length >= 4 && held.length >= 4 + held.readUInt32BE()) {
          const whole = held.subarray(4, 4 + held.readUInt32BE());
          held = held.subarray(4 + whole.length);
          const end = 2 + whole[1]!;
          daemon(socket, whole[0]!, whole.subarray(2, end).toString('latin1'), whole.subarray(end));
        }
      });
    });
  }

  async listen(path: string): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(path, resolve));
  }

  close(): void {
    for (const socket of this.connections) socket.destroy();
    this.#server.close();
  }
}
