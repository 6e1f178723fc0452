/**
 * Control's end of the connection to the data plane (`dataplane/messages.ts`).
 *
 * A link lives for one connection: it is opened, says `ready` once, gives messages, and closes once.
 */
import { EventEmitter } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import {
  type ControlMessage,
  type DataPlaneMessage,
  encodeMessage,
  MessageDecoder,
  type ReadyMessage,
} from '../../dataplane/messages.ts';

interface LinkEvents {
  /** Every message but `ready`. */
  message: [message: DataPlaneMessage];
  /** The connection is gone, for a reason if there is one; nothing comes after this. */
  close: [reason: string];
}

export class DataPlaneLink extends EventEmitter<LinkEvents> {
  /** What the data plane said of itself. */
  readonly ready: ReadyMessage;
  readonly #socket: Socket;
  readonly #decoder: MessageDecoder<DataPlaneMessage>;

  private constructor(socket: Socket, decoder: MessageDecoder<DataPlaneMessage>, ready: ReadyMessage) {
    super();
    this.#socket = socket;
    this.#decoder = decoder;
    this.ready = ready;
    socket.on('data', (chunk: Buffer) => {
      decoder.push(chunk);
      this.#deliver();
    });
    socket.on('error', () => {});
    socket.on('close', () => this.emit('close', decoder.error));
    // What came together with `ready`: after the caller has had a turn to listen.
    setImmediate(() => this.#deliver());
  }

  /**
   * Connects, and waits until the data plane has said that it is ready.
   *
   * @throws Error with the `code` of the failed connection (`ENOENT`, `ECONNREFUSED`: nobody listens),
   * `data_plane_silent` when `timeoutMs` has passed, or `data_plane_foreign`.
   */
  static open(path: string, timeoutMs: number): Promise<DataPlaneLink> {
    return new Promise((resolve, reject) => {
      const socket = createConnection(path);
      const decoder = MessageDecoder.ofDataPlane();
      const settle = (): void => {
        clearTimeout(timer);
        socket.removeAllListeners();
      };
      const fail = (code: string, message: string): void => {
        settle();
        socket.on('error', () => {});
        socket.destroy();
        reject(Object.assign(new Error(message), { code }));
      };
      const timer = setTimeout(() => {
        fail('data_plane_silent', `the data plane at ${path} does not answer`);
      }, timeoutMs);
      socket.on('error', (error: NodeJS.ErrnoException) => fail(error.code ?? 'EIO', error.message));
      socket.on('close', () => fail('ECONNRESET', `the data plane at ${path} closed the connection`));
      socket.on('data', (chunk: Buffer) => {
        decoder.push(chunk);
        const first = decoder.next();
        if (decoder.error !== '' || (first !== undefined && first.type !== 'ready')) {
          fail('data_plane_foreign', `something else than a data plane listens at ${path}`);
        } else if (first !== undefined) {
          settle();
          resolve(new DataPlaneLink(socket, decoder, first));
        }
      });
    });
  }

  /** Sends unless the connection is closed already, which `close` has said or will say. */
  send(message: ControlMessage): void {
    if (!this.#socket.destroyed) this.#socket.write(encodeMessage(message));
  }

  close(): void {
    this.#socket.destroy();
  }

  #deliver(): void {
    for (let message = this.#decoder.next(); message !== undefined; message = this.#decoder.next()) {
      this.emit('message', message);
    }
    if (this.#decoder.error !== '') this.#socket.destroy();
  }
}
