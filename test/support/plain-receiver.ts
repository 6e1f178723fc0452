/**
 * The receiver of a TCP stream, byte by byte and slow: what arrives is kept until it is in order, then it can be read.
 * Where two copies of a byte wait, hosts differ in which they keep (Linux keeps either, by how segments lie).
 */
export class PlainReceiver {
  /** All that could be read so far. */
  readonly read: number[] = [];
  finished = false;
  private readonly waiting = new Map<number, number>();
  private readonly keepsFirst: boolean;
  private finAt = -1;

  constructor(keepsFirst: boolean) {
    this.keepsFirst = keepsFirst;
  }

  /** A segment of which the data begin at `offset` of the stream. */
  take(offset: number, data: Uint8Array, fin: boolean): void {
    data.forEach((byte, i) => {
      const place = offset + i;
      if (place < this.read.length || (this.keepsFirst && this.waiting.has(place))) return;
      this.waiting.set(place, byte);
    });
    if (fin && this.finAt < 0) this.finAt = offset + data.length;
    for (;;) {
      const byte = this.waiting.get(this.read.length);
      if (byte === undefined) break;
      this.waiting.delete(this.read.length);
      this.read.push(byte);
    }
    this.finished = this.finAt === this.read.length;
  }

  /** What it acknowledges, as an offset; the FIN counts one. */
  get acknowledges(): number {
    return this.read.length + (this.finished ? 1 : 0);
  }
}
