/**
 * Captures, from the client's side: asking for one, and finding out from the file as it passes how many packets it
 * has, how many were lost, and why it ended.
 */
import {
  BLOCK_ENHANCED_PACKET,
  BLOCK_INTERFACE_STATISTICS,
  ENHANCED_PACKET_BYTES,
  INTERFACE_STATISTICS_BYTES,
  OPTION_COMMENT,
  OPTION_END,
  OPTION_PACKET_DROPS,
  OPTION_STATISTICS_DROPPED,
  padded,
} from '../../device/pcapng-format.ts';
import type { ApiClient } from '../client.ts';

/** As the query of `/v1/capture` (`routes/captures.ts`) has it. */
export interface CaptureQuery {
  readonly tunnels?: readonly string[] | undefined;
  readonly egresses?: readonly string[] | undefined;
  readonly filter?: string | undefined;
  /** Names of drop reasons; none: any. */
  readonly dropped?: readonly string[] | undefined;
  readonly flow?: number | undefined;
  readonly exact?: boolean | undefined;
  readonly snaplen?: number | undefined;
  readonly count?: number | undefined;
  readonly bytes?: number | undefined;
  readonly seconds?: number | undefined;
}

/** The parts of a capture file, as packets pass. All throw ApiError. */
export function capturePackets(
  client: ApiClient,
  { tunnels, egresses, dropped, ...others }: CaptureQuery,
  signal?: AbortSignal,
): Promise<AsyncIterable<Buffer>> {
  return client.stream('GET', '/v1/capture', {
    query: {
      ...others,
      tunnel: tunnels?.join(','),
      egress: egresses?.join(','),
      dropped: dropped?.length === 0 ? 'any' : dropped?.join(','),
    },
    ...(signal === undefined ? {} : { signal }),
  });
}

/** Of a block: type and length. */
const BLOCK_HEAD_BYTES = 8;
/** A block that is longer is none of ours. */
const MAX_BLOCK_BYTES = 1024 * 1024;

/** Counts what a capture file of ours holds, however it is cut into parts. */
export class CaptureSummary {
  packets = 0;
  /** In words; empty if the file did not come to its end. */
  ended = '';
  /** As told by packets, and at the end. */
  #lostUnderway = 0;
  #lostInAll = 0;
  /** The block at hand: its head, and all of it if it is wanted. */
  #kept = Buffer.alloc(0);
  /** Bytes of the block at hand that are still to come, beyond what is kept. */
  #skip = 0;

  /** Packets that the capture had no room for, as far as it is known. */
  get lost(): number {
    return Math.max(this.#lostUnderway, this.#lostInAll);
  }

  add(part: Uint8Array): void {
    let at = Math.min(this.#skip, part.length);
    this.#skip -= at;
    while (at < part.length) {
      const taken = part.subarray(at, at + this.#wanted() - this.#kept.length);
      this.#kept = Buffer.concat([this.#kept, taken]);
      at += taken.length;
      // More may be wanted now that the head is known.
      if (this.#kept.length < this.#wanted()) continue;
      const rest = this.#finishBlock();
      const skipped = Math.min(rest, part.length - at);
      at += skipped;
      this.#skip = rest - skipped;
    }
  }

  /** Bytes of the block at hand that have to be looked at. */
  #wanted(): number {
    if (this.#kept.length < BLOCK_HEAD_BYTES) return BLOCK_HEAD_BYTES;
    const length = this.#kept.readUInt32LE(4);
    const type = this.#kept.readUInt32LE(0);
    const isTold = type === BLOCK_INTERFACE_STATISTICS || type === BLOCK_ENHANCED_PACKET;
    return isTold && length <= MAX_BLOCK_BYTES ? length : BLOCK_HEAD_BYTES;
  }

  /** Takes what is kept as a block, or its head. Returns how much of it follows. */
  #finishBlock(): number {
    const block = this.#kept;
    this.#kept = Buffer.alloc(0);
    const type = block.readUInt32LE(0);
    if (type === BLOCK_ENHANCED_PACKET) this.#readPacket(block);
    if (type === BLOCK_INTERFACE_STATISTICS) this.#readStatistics(block);
    return Math.max(0, block.readUInt32LE(4) - block.length);
  }

  #readPacket(block: Buffer): void {
    this.packets++;
    if (block.length < BLOCK_HEAD_BYTES + ENHANCED_PACKET_BYTES) return;
    const data = padded(block.readUInt32LE(BLOCK_HEAD_BYTES + 12));
    for (const [code, value] of options(block, BLOCK_HEAD_BYTES + ENHANCED_PACKET_BYTES + data)) {
      if (code === OPTION_PACKET_DROPS && value.length === 8)
        this.#lostUnderway += Number(value.readBigUInt64LE());
    }
  }

  #readStatistics(block: Buffer): void {
    for (const [code, value] of options(block, BLOCK_HEAD_BYTES + INTERFACE_STATISTICS_BYTES)) {
      if (code === OPTION_COMMENT) this.ended = value.toString('utf8');
      if (code === OPTION_STATISTICS_DROPPED && value.length === 8)
        this.#lostInAll += Number(value.readBigUInt64LE());
    }
  }
}

/** The options of a block of ours, which is little endian. */
function* options(block: Buffer, start: number): Generator<[code: number, value: Buffer]> {
  let at = start;
  while (at + 4 <= block.length) {
    const code = block.readUInt16LE(at);
    const length = block.readUInt16LE(at + 2);
    if (code === OPTION_END) return;
    yield [code, block.subarray(at + 4, at + 4 + length)];
    at += 4 + padded(length);
  }
}
