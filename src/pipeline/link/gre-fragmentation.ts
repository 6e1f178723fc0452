/**
 * Outer packets of a GRE tunnel in fragments: RFC 7676, 3.2, RFC 7588, RFC 4459.
 *
 * What cannot be told to become smaller must pass anyway: an IPv6 sender takes no MTU below 1280 (RFC 8200, 5). So
 * where the path does not carry 1280 bytes inside the tunnel, the outer packet is cut, and the tunnel's other end,
 * whose address it carries, puts it together again.
 *
 * ```
 *   | outer IP | GRE | inner packet .............................. |
 *   | outer IP | GRE | inner ... |  | outer IP | ... inner ... |  | outer IP | ... inner |
 * ```
 *
 * IPv4 fragments have DF clear, so that a path that is narrower still may cut them again. Identifications are fresh
 * for the two ends, not for the tunnel: tunnels that differ by their key only are different sites, and their
 * fragments must never be mixed up.
 *
 * Neighbours: `link-output.ts` (sends the pieces), `gre-encapsulation.ts`, `../fragmentation.ts` (cuts).
 */
import { completeChecksum } from '../../wire/checksum.ts';
import { FRAME_PREFIX_BYTES } from '../../wire/frame.ts';
import { GSO_NONE, PacketView } from '../../wire/packet.ts';
import { Fragmenter } from '../fragmentation.ts';
import type { Identifications } from '../identification.ts';
import { describeOuter, type GreEncapsulation } from './gre-encapsulation.ts';
import type { GreTunnel } from './gre-tunnel.ts';
import type { Scratch } from './scratch.ts';

export class GreFragmentation {
  private readonly encapsulation: GreEncapsulation;
  private readonly fragmenter: Fragmenter;
  private readonly outer: PacketView;
  private readonly piece: PacketView;

  constructor(scratch: Scratch, encapsulation: GreEncapsulation, identifications: Identifications) {
    this.encapsulation = encapsulation;
    this.fragmenter = new Fragmenter(scratch, identifications);
    this.outer = new PacketView(scratch.memory, true);
    this.piece = new PacketView(scratch.memory, true);
  }

  /** Whether the packet would be too large for the tunnel's path whole, and must not be refused for it. */
  isNeeded(tunnel: GreTunnel, packet: PacketView): boolean {
    return packet.gsoType === GSO_NONE && packet.length + tunnel.overheadBytes > tunnel.pathMtu.current;
  }

  /**
   * Puts the packet into GRE and hands the pieces of the outer packet to `emit`, in order: made once, it answers 0
   * or a drop reason, which ends the cutting. A partial checksum of `packet` is completed in place. Returns 0, or why
   * not all pieces left.
   */
  send(tunnel: GreTunnel, packet: PacketView, emit: (piece: PacketView) => number): number {
    completeChecksum(packet);
    const frame = this.encapsulation.encapsulate(tunnel, packet);
    describeOuter(this.outer, tunnel, packet, (frame + FRAME_PREFIX_BYTES) | 0);
    return this.fragmenter.fragmentPacket(this.outer, tunnel.pathMtu.current, this.piece, emit);
  }
}
