/**
 * The data plane's end of the conversation with control: a listening Unix socket in the I/O's wait set, one
 * connection at a time (a newer one replaces the older), framed messages both ways. Never blocks: what does not
 * fit into the socket waits here, and when too much waits the connection is dropped - control reconnects and
 * asks again.
 */

import { closeFd, unixAccept, unixListen, unixRead, unixWrite } from '../device/native.ts';
import type { NativeIo } from '../device/native-io.ts';
import { type ControlMessage, type DataPlaneMessage, encodeMessage, MessageDecoder } from './messages.ts';

const LISTENER = 1;
const CONNECTION = 2;
const READ_BYTES = 64 * 1024;
/** More than this unsent means that control does not read. */
const MAX_UNSENT_BYTES = 4 * 1024 * 1024;

export class ControlSocket {
  private readonly io: NativeIo;
  private readonly listener: number;
  private readonly chunk = new Uint8Array(READ_BYTES);
  private readonly greet: () => DataPlaneMessage;
  private readonly handle: (message: ControlMessage) => void;
  private connection = -1;
  private decoder = MessageDecoder.ofControl();
  private unsent: Uint8Array[] = [];
  private unsentBytes = 0;
  private writable = true;

  /** Listens on `path`. `greet` makes the first message of a connection; `handle` gets what control says. */
  constructor(
    io: NativeIo,
    path: string,
    greet: () => DataPlaneMessage,
    handle: (message: ControlMessage) => void,
  ) {
    this.io = io;
    this.greet = greet;
    this.handle = handle;
    this.listener = unixListen(path);
    io.watch(this.listener, LISTENER);
  }

  /** Serves what the last burst found ready. */
  serve(): void {
    for (let i = 0; i < this.io.readyCount; i++) {
      const id = this.io.readyIds[i];
      if (id === LISTENER) this.accept();
      else if (id === CONNECTION) this.exchange();
    }
  }

  /** Sends a message, or drops it when nobody is connected. */
  send(message: DataPlaneMessage): void {
    if (this.connection < 0) return;
    const bytes = encodeMessage(message);
    this.unsent.push(bytes);
    this.unsentBytes += bytes.length;
    if (this.unsentBytes > MAX_UNSENT_BYTES) this.drop();
    else this.flush();
  }

  /** What has not been sent yet, bytes. */
  get backlogBytes(): number {
    return this.unsentBytes;
  }

  get connected(): boolean {
    return this.connection >= 0;
  }

  private accept(): void {
    const connection = unixAccept(this.listener);
    if (connection < 0) return;
    this.drop();
    this.connection = connection;
    this.decoder = MessageDecoder.ofControl();
    this.writable = true;
    this.io.watch(connection, CONNECTION);
    this.send(this.greet());
  }

  private exchange(): void {
    this.flush();
    for (;;) {
      if (!this.takeMessages()) return;
      const count = unixRead(this.connection, this.chunk);
      if (count < 0) return;
      if (count === 0) {
        this.drop();
        return;
      }
      this.decoder.push(this.chunk.subarray(0, count));
    }
  }

  /** Handles what has been read: all of it, also what was left when the last message was interrupted. */
  private takeMessages(): boolean {
    for (let message = this.decoder.next(); message !== undefined; message = this.decoder.next()) {
      this.handle(message);
    }
    if (this.decoder.error !== '') this.drop();
    return this.connection >= 0;
  }

  private flush(): void {
    while (this.connection >= 0 && this.unsent.length > 0) {
      const first = this.unsent[0];
      const count = unixWrite(this.connection, first, 0, first.length);
      if (count < 0) {
        this.drop();
        return;
      }
      this.unsentBytes -= count;
      if (count === first.length) this.unsent.shift();
      else this.unsent[0] = first.subarray(count);
      if (count < first.length) break;
    }
    const blocked = this.unsent.length > 0;
    if (this.connection >= 0 && blocked === this.writable) {
      this.writable = !blocked;
      this.io.watch(this.connection, CONNECTION, blocked);
    }
  }

  private drop(): void {
    if (this.connection >= 0) {
      this.io.unwatch(this.connection);
      closeFd(this.connection);
    }
    this.connection = -1;
    this.unsent = [];
    this.unsentBytes = 0;
  }
}
