/**
 * VICI packets, and how they stand in the byte stream (strongSwan, `vici/README.md`, "Transport protocol",
 * "Packet format").
 *
 * ```
 *  0               4      5                        4 + length
 *  +---------------+------+------------------------+
 *  | length        | type | name, message          |   length: u32, big endian, of what follows, 1..524288
 *  +---------------+------+------------------------+
 *
 *  type                 name   message   direction
 *  0 CMD_REQUEST        yes    yes       to the daemon
 *  1 CMD_RESPONSE       -      yes       from it; answers come in the order of the requests
 *  2 CMD_UNKNOWN        -      -         from it
 *  3 EVENT_REGISTER     yes    -         to it
 *  4 EVENT_UNREGISTER   yes    -         to it
 *  5 EVENT_CONFIRM      -      -         from it
 *  6 EVENT_UNKNOWN      -      -         from it
 *  7 EVENT              yes    yes       from it, at any time
 * ```
 *
 * Neighbours: `message.ts` (what is inside), `session.ts` (who speaks when).
 */
import { ViciError } from './errors.ts';
import { encodeName } from './message.ts';

export const CMD_REQUEST = 0;
export const CMD_RESPONSE = 1;
export const CMD_UNKNOWN = 2;
export const EVENT_REGISTER = 3;
export const EVENT_UNREGISTER = 4;
export const EVENT_CONFIRM = 5;
export const EVENT_UNKNOWN = 6;
export const EVENT = 7;

/** The longest packet, without its length. strongSwan closes the connection for a longer one. */
export const MAX_PACKET_BYTES = 512 * 1024;
const LENGTH_BYTES = 4;

/** A packet from the daemon. `message` is not decoded yet, and a view of the receive buffer. */
export interface ViciPacket {
  readonly type: number;
  /** Of events; else empty. */
  readonly name: string;
  readonly message: Uint8Array;
}

const NOTHING = new Uint8Array(0);

/**
 * A packet with its length in front.
 *
 * @throws ViciError `unsendable` if it is longer than a packet may be.
 */
export function encodePacket(type: number, name: string, message: Uint8Array = NOTHING): Uint8Array {
  const encodedName = encodeName(name);
  const length = 1 + encodedName.length + message.length;
  if (length > MAX_PACKET_BYTES) {
    throw new ViciError('unsendable', `${name} has ${length} bytes; VICI takes ${MAX_PACKET_BYTES}`);
  }
  const header = Buffer.alloc(LENGTH_BYTES + 1);
  header.writeUInt32BE(length);
  header[LENGTH_BYTES] = type;
  return Buffer.concat([header, encodedName, message]);
}

/**
 * Takes the daemon's bytes as they come and gives packets. After a fault it gives nothing more: the stream has
 * lost its frames. Keeps at most one packet's bytes.
 */
export class PacketReader {
  #parts: Uint8Array[] = [];
  #heldBytes = 0;
  /** Bytes of the packet at hand with its length, 0 while that is not known. */
  #wantedBytes = 0;
  #fault: ViciError | undefined;

  /**
   * The packets that are whole with this chunk.
   *
   * @throws ViciError `protocol`, also for every later call.
   */
  *push(chunk: Uint8Array): Generator<ViciPacket, void> {
    if (this.#fault !== undefined) throw this.#fault;
    this.#parts.push(chunk);
    this.#heldBytes += chunk.length;
    for (;;) {
      if (this.#wantedBytes === 0) {
        if (this.#heldBytes < LENGTH_BYTES) return;
        const [a, b, c, d] = this.#gather() as unknown as [number, number, number, number];
        const length = ((a << 24) | (b << 16) | (c << 8) | d) >>> 0;
        if (length === 0 || length > MAX_PACKET_BYTES) {
          throw this.#fail(`a packet of ${length} bytes; 1 to ${MAX_PACKET_BYTES} are allowed`);
        }
        this.#wantedBytes = LENGTH_BYTES + length;
      }
      if (this.#heldBytes < this.#wantedBytes) return;
      const held = this.#gather();
      const packet = held.subarray(LENGTH_BYTES, this.#wantedBytes);
      this.#parts = [held.subarray(this.#wantedBytes)];
      this.#heldBytes -= this.#wantedBytes;
      this.#wantedBytes = 0;
      yield this.#decode(packet);
    }
  }

  /** All held bytes as one part. */
  #gather(): Uint8Array {
    if (this.#parts.length !== 1) this.#parts = [Buffer.concat(this.#parts)];
    return this.#parts[0]!;
  }

  #decode(packet: Uint8Array): ViciPacket {
    const type = packet[0]!;
    const rest = packet.subarray(1);
    switch (type) {
      case CMD_RESPONSE:
        return { type, name: '', message: rest };
      case CMD_UNKNOWN:
      case EVENT_CONFIRM:
      case EVENT_UNKNOWN:
        if (rest.length > 0) throw this.#fail(`a packet of type ${type} with ${rest.length} bytes too many`);
        return { type, name: '', message: NOTHING };
      case EVENT: {
        const nameBytes = rest[0] ?? 0;
        if (nameBytes === 0 || 1 + nameBytes > rest.length) {
          throw this.#fail('an event without a name');
        }
        const name = Buffer.from(rest.subarray(1, 1 + nameBytes)).toString('latin1');
        return { type, name, message: rest.subarray(1 + nameBytes) };
      }
      default:
        throw this.#fail(`a packet of type ${type}, which a daemon does not send`);
    }
  }

  #fail(what: string): ViciError {
    this.#fault = new ViciError('protocol', `the daemon sent ${what}`);
    this.#parts = [];
    return this.#fault;
  }
}
