/**
 * A reassembler with memory of its own, and what it was told to drop.
 */
import assert from 'node:assert/strict';
import { KeyedHash } from '../../src/pipeline/keyed-hash.ts';
import { Reassembler } from '../../src/pipeline/reassembly.ts';
import { DROP_REASON_NAMES } from '../../src/plugin/drop-reasons.ts';
import { PacketBench } from './packet-bench.ts';
import type { PlainEnds } from './plain-packets.ts';

export const POOL_BYTES = 1024 * 1024;

export const ENDS4: PlainEnds = { family: 4, source: [10, 0, 1, 2], destination: [10, 50, 0, 9] };
export const ENDS6: PlainEnds = {
  family: 6,
  source: [0xfd, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2],
  destination: [0xfd, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9],
};

export class ReassemblyRig {
  readonly bench: PacketBench;
  readonly reassembler: Reassembler;
  readonly poolBytes: number;
  /** What `onDrop` was told: "space reason count". */
  readonly dropped: string[] = [];
  droppedFragments = 0;

  constructor(maxDatagrams = 64, poolBytes = POOL_BYTES) {
    this.poolBytes = poolBytes;
    this.bench = new PacketBench(1024, poolBytes + 64);
    this.reassembler = new Reassembler(
      this.bench.memory,
      this.bench.poolOffset,
      poolBytes,
      maxDatagrams,
      new KeyedHash(1, 2),
      (space, reason, fragments) => {
        this.dropped.push(`${space} ${DROP_REASON_NAMES[reason]} ${fragments}`);
        this.droppedFragments += fragments;
      },
    );
  }

  add(fragment: Uint8Array, space = 1, nowMs = 0): number {
    return this.reassembler.add(this.bench.put(fragment), space, nowMs);
  }

  /** Why a fragment is not taken, be it by the decoder or by reassembly. */
  refusal(fragment: Uint8Array): string | undefined {
    const reason = this.bench.offer(fragment) || -this.reassembler.add(this.bench.view, 1, 0);
    return DROP_REASON_NAMES[reason];
  }

  whole(offset: number): Uint8Array {
    return this.bench.memory.bytes.slice(offset, offset + this.reassembler.length);
  }

  /** Adds all, expects the last and no other to complete the datagram, and returns that. */
  complete(fragments: readonly Uint8Array[], space = 1): Uint8Array {
    for (const fragment of fragments.slice(0, -1)) assert.equal(this.add(fragment, space), 0);
    const offset = this.add(fragments.at(-1)!, space);
    assert.ok(offset > 0, `completes, and does not answer ${offset}`);
    return this.whole(offset);
  }
}
