/**
 * The path MTU below a GRE tunnel: what routers on the way say about the outer packets (RFC 1191, RFC 8201,
 * RFC 7588).
 *
 * A router's word only ever lowers the value, never below what every link of the family must carry (576 is what
 * hosts must accept by IPv4, 1280 by IPv6), and is forgotten after ten minutes, so that a forged message costs
 * little and a path that became wider is used again.
 *
 * Neighbours: `outer-icmp.ts` (reads the messages), `link-layer.ts` (`portMtu`).
 */
import { IPV4 } from '../../wire/packet.ts';

/** How long a lowered value holds after the last message that confirmed it. */
export const PATH_MTU_AGE_MS = 600_000;
const MINIMUM_IPV4 = 576;
const MINIMUM_IPV6 = 1280;
/** Sizes to try when a router does not say its MTU (RFC 1191, 7.1). */
const PLATEAUS = [32000, 17914, 8166, 4352, 2002, 1492, 1006, 576] as const;

export class PathMtu {
  /** Largest outer packet as configured, bytes. */
  readonly configured: number;
  /** Largest outer packet now, bytes. */
  current: number;
  private readonly family: number;
  private readonly minimum: number;
  private loweredAt = 0;

  constructor(configuredBytes: number, family: number) {
    this.configured = configuredBytes;
    this.current = configuredBytes;
    this.family = family;
    this.minimum = Math.min(configuredBytes, family === IPV4 ? MINIMUM_IPV4 : MINIMUM_IPV6);
  }

  /**
   * A router could not forward an outer packet of `packetBytes` over a link of `mtu` (0: it did not say).
   * Returns whether the value became lower.
   */
  report(mtu: number, packetBytes: number, nowMs: number): boolean {
    // RFC 8201, 4: such a message is discarded. (A negative number is a value above 2^31.)
    if (mtu < 0 || (this.family !== IPV4 && mtu < MINIMUM_IPV6)) return false;
    const said = mtu === 0 ? plateauBelow(packetBytes) : mtu;
    // A link that would have taken the packet is no reason to make packets smaller.
    if (said >= packetBytes) return false;
    const next = Math.max(said, this.minimum);
    if (next > this.current) return false;
    this.loweredAt = nowMs;
    const lower = next < this.current;
    this.current = next;
    return lower;
  }

  /** Forgets what was learnt long ago. */
  tick(nowMs: number): void {
    if (this.current !== this.configured && ((nowMs - this.loweredAt) | 0) >= PATH_MTU_AGE_MS) {
      this.current = this.configured;
    }
  }
}

function plateauBelow(packetBytes: number): number {
  for (let index = 0; index < PLATEAUS.length; index++) {
    if (PLATEAUS[index] < packetBytes) return PLATEAUS[index];
  }
  return 0;
}
