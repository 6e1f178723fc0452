/**
 * The path MTU below a GRE tunnel: what routers on the way say about the outer packets (RFC 1191, RFC 8201,
 * RFC 7588).
 *
 * A router's word only ever lowers the value, never below what every link of the family must carry (576 is what
 * hosts must accept by IPv4, 1280 by IPv6), and is forgotten after ten minutes, so that a forged message costs
 * little and a path that became wider is used again.
 *
 * An IPv6 packet of 1280 bytes must pass whatever the path (RFC 7676, 3.2; RFC 8200, 5): where it would not whole,
 * the path is narrow, and the outer packet is cut. An IPv4 path below 576 is left to its routers: they may cut.
 *
 * Neighbours: `outer-icmp.ts` (reads the messages), `link-layer.ts` (`portMtu`).
 */
import { IPV6_MINIMUM_MTU } from '../../wire/ipv6.ts';
import { IPV4 } from '../../wire/packet.ts';

/** How long a lowered value holds after the last message that confirmed it. */
export const PATH_MTU_AGE_MS = 600_000;
const MINIMUM_IPV4 = 576;
/** Sizes to try when a router does not say its MTU (RFC 1191, 7.1). */
const PLATEAUS = [32000, 17914, 8166, 4352, 2002, 1492, 1006, 576] as const;

export class PathMtu {
  /** Largest outer packet as configured, bytes. */
  readonly configured: number;
  /** Largest outer packet now, bytes. */
  current: number;
  /** 1 while an outer packet with {@link IPV6_MINIMUM_MTU} bytes inside does not pass whole, else 0. */
  isNarrow: number;
  /** 1 while outer packets must be left to the path's routers to cut (IPv4 only), else 0. */
  mayBeCut = 0;
  private readonly wholeBytes: number;
  private readonly family: number;
  private readonly minimum: number;
  private loweredAt = 0;

  /**
   * @param configuredBytes largest outer packet
   * @param overheadBytes what the tunnel puts in front of an inner packet
   * @param family of the outer packets
   */
  constructor(configuredBytes: number, overheadBytes: number, family: number) {
    this.configured = configuredBytes;
    this.current = configuredBytes;
    this.wholeBytes = IPV6_MINIMUM_MTU + overheadBytes;
    this.isNarrow = configuredBytes < this.wholeBytes ? 1 : 0;
    this.family = family;
    this.minimum = Math.min(configuredBytes, family === IPV4 ? MINIMUM_IPV4 : IPV6_MINIMUM_MTU);
  }

  /**
   * A router could not forward an outer packet of `packetBytes` over a link of `mtu` (0: it did not say).
   * Returns whether the value became lower.
   */
  report(mtu: number, packetBytes: number, nowMs: number): boolean {
    // RFC 8201, 4: such a message is discarded. (A negative number is a value above 2^31.)
    if (mtu < 0 || (this.family !== IPV4 && mtu < IPV6_MINIMUM_MTU)) return false;
    const said = mtu === 0 ? plateauBelow(packetBytes) : mtu;
    // A link that would have taken the packet is no reason to make packets smaller.
    if (said >= packetBytes) return false;
    const next = Math.max(said, this.minimum);
    if (next > this.current) return false;
    this.loweredAt = nowMs;
    const lower = next < this.current;
    this.set(next, said < this.minimum ? 1 : this.mayBeCut);
    return lower;
  }

  /** Forgets what was learnt long ago. */
  tick(nowMs: number): void {
    if (this.current === this.configured && this.mayBeCut === 0) return;
    if (((nowMs - this.loweredAt) | 0) >= PATH_MTU_AGE_MS) this.set(this.configured, 0);
  }

  private set(bytes: number, mayBeCut: number): void {
    this.current = bytes;
    this.isNarrow = bytes < this.wholeBytes ? 1 : 0;
    this.mayBeCut = mayBeCut;
  }
}

function plateauBelow(packetBytes: number): number {
  for (let index = 0; index < PLATEAUS.length; index++) {
    if (PLATEAUS[index] < packetBytes) return PLATEAUS[index];
  }
  return 0;
}
