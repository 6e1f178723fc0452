/**
 * Order of received GRE packets: RFC 2890, section 2.2.
 *
 * A packet whose number is not above the last one delivered is out of sequence and dropped; none is kept to be
 * put in order, as that would delay others. Numbers are 32 bit and wrap, so "above" is by difference.
 *
 * The RFC does not say how a receiver notices that the sender began again from 0 (it was restarted, or the
 * tunnel was made anew). Two signs are taken for it:
 *
 * ```
 *   number <= last:
 *     nothing delivered for 3 s                          -> restart: take it
 *     1024 or more behind, and the 4th such packet in a
 *     row whose number is above the one before it        -> restart: take it
 *     otherwise                                          -> drop
 * ```
 *
 * Networks do not reorder by 3 seconds or by a thousand packets. If they did, a packet would be delivered late,
 * which an IP network may do anyway; the next one in order is above it and passes too.
 *
 * Neighbours: `gre-decapsulation.ts`.
 */

/** Silence after which any number is taken. */
export const SEQUENCE_IDLE_MS = 3000;
/** Distance behind the last number from which on reordering is not believed. */
export const SEQUENCE_JUMP = 1024;
/** Packets in a row, far behind and in order, that prove a restart. */
export const SEQUENCE_JUMP_PACKETS = 4;

export class GreSequence {
  private started = false;
  private last = 0;
  private lastAt = 0;
  private candidate = 0;
  private candidates = 0;

  /** Whether the packet with this number (as an int32) may be delivered; remembers it if so. */
  accept(sequence: number, nowMs: number): boolean {
    const ahead = (sequence - this.last) | 0;
    if (!this.started || ahead > 0 || this.isRestart(sequence, ahead, nowMs)) {
      this.started = true;
      this.last = sequence;
      this.lastAt = nowMs;
      this.candidates = 0;
      return true;
    }
    return false;
  }

  private isRestart(sequence: number, ahead: number, nowMs: number): boolean {
    const silentMs = (nowMs - this.lastAt) | 0;
    if (silentMs < 0 || silentMs >= SEQUENCE_IDLE_MS) return true;
    if (ahead > -SEQUENCE_JUMP) return false;
    const inOrder = this.candidates > 0 && ((sequence - this.candidate) | 0) > 0;
    this.candidates = inOrder ? this.candidates + 1 : 1;
    this.candidate = sequence;
    return this.candidates >= SEQUENCE_JUMP_PACKETS;
  }
}
