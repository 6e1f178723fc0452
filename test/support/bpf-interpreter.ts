/**
 * Runs classic BPF as the kernel would: the subset that the socket filters use, and nothing more.
 * Documentation/networking/filter.rst, linux/filter.h.
 */

/** What the kernel notes of a packet beside its bytes. */
export interface PacketNotes {
  readonly ethertype: number;
  /** PACKET_HOST 0, BROADCAST 1, MULTICAST 2, OTHERHOST 3. */
  readonly packetType: number;
  /** The tag that was taken off; undefined: none. */
  readonly vlanTag?: number;
  /** Default: 0. */
  readonly mark?: number;
}

const ANCILLARY = 0xfffff000;

/** What the program returns: bytes to keep, 0 for none. Throws for an instruction that it does not know. */
export function runFilter(
  program: readonly (readonly [number, number, number, number])[],
  packet: Uint8Array,
  notes: PacketNotes,
): number {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  let a = 0;
  let x = 0;
  const load = (bytes: number, at: number): number | undefined => {
    if (at >= ANCILLARY) return ancillary(at - ANCILLARY, notes);
    if (at + bytes > packet.length) return undefined;
    return bytes === 1 ? view.getUint8(at) : bytes === 2 ? view.getUint16(at) : view.getUint32(at);
  };
  for (let pc = 0; ; pc++) {
    const instruction = program[pc];
    if (instruction === undefined) throw new Error(`ran out of the program at ${pc}`);
    const [code, jt, jf, k] = instruction;
    let loaded: number | undefined;
    switch (code) {
      case 0x20:
      case 0x28:
      case 0x30:
        loaded = load(code === 0x20 ? 4 : code === 0x28 ? 2 : 1, k);
        if (loaded === undefined) return 0;
        a = loaded;
        break;
      case 0x40:
      case 0x48:
      case 0x50:
        loaded = load(code === 0x40 ? 4 : code === 0x48 ? 2 : 1, x + k);
        if (loaded === undefined) return 0;
        a = loaded;
        break;
      case 0xb1:
        loaded = load(1, k);
        if (loaded === undefined) return 0;
        x = (loaded & 0x0f) * 4;
        break;
      case 0x54:
        a = (a & k) >>> 0;
        break;
      case 0x64:
        a = (a << k) >>> 0;
        break;
      case 0x0c:
        a = (a + x) >>> 0;
        break;
      case 0x07:
        x = a;
        break;
      case 0x05:
        pc += k;
        break;
      case 0x15:
        pc += a === k ? jt : jf;
        break;
      case 0x25:
        pc += a > k ? jt : jf;
        break;
      case 0x35:
        pc += a >= k ? jt : jf;
        break;
      case 0x06:
        return k;
      default:
        throw new Error(`instruction ${pc} has the unknown code ${code}`);
    }
  }
}

function ancillary(offset: number, notes: PacketNotes): number {
  switch (offset) {
    case 0:
      return notes.ethertype;
    case 4:
      return notes.packetType;
    case 20:
      return notes.mark ?? 0;
    case 44:
      return notes.vlanTag ?? 0;
    case 48:
      return notes.vlanTag === undefined ? 0 : 1;
    default:
      throw new Error(`unknown ancillary load ${offset}`);
  }
}
