import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { plainFragment, plainUdp, seededRandom } from '../../test/support/plain-packets.ts';
import { ENDS4, ENDS6, ReassemblyRig } from '../../test/support/reassembly-rig.ts';
import { DROP } from '../plugin/drop-reasons.ts';
import { MAX_FRAGMENTS, REASSEMBLY_TIMEOUT_MS } from './reassembly.ts';

describe('reassembly: time and memory', () => {
  const packet = plainUdp(ENDS4, 1, 2, new Uint8Array(2992));
  const from = (last: number): Uint8Array =>
    plainUdp({ ...ENDS4, source: [10, 0, last >> 8, last & 255] }, 1, 2, new Uint8Array(2992));

  it('drops what has not arrived within 30 s, across the wrap of time', () => {
    const rig = new ReassemblyRig();
    const startMs = 0x7fffffff - 5;
    const later = (ms: number): number => (startMs + ms) | 0;
    rig.add(plainFragment(packet, 0, 1000, 1), 4, startMs);
    rig.add(plainFragment(packet, 1000, 2000, 1), 4, later(100));
    rig.add(plainFragment(packet, 0, 1000, 2), 4, later(5000));
    rig.reassembler.sweep(later(REASSEMBLY_TIMEOUT_MS - 1));
    assert.equal(rig.reassembler.waiting, 2);
    rig.reassembler.sweep(later(REASSEMBLY_TIMEOUT_MS));
    assert.deepEqual(rig.dropped, ['4 fragment_timeout 2']);
    assert.equal(rig.reassembler.waiting, 1);
    // A fragment that comes too late begins anew, even if nobody swept.
    assert.equal(rig.add(plainFragment(packet, 1000, 3000, 2), 4, later(35_000)), 0);
    assert.deepEqual(rig.dropped, ['4 fragment_timeout 2', '4 fragment_timeout 1']);
  });

  it('gives up a datagram of too many fragments', () => {
    const rig = new ReassemblyRig();
    const long = plainUdp(ENDS4, 1, 2, new Uint8Array(4096));
    for (let index = 0; index < MAX_FRAGMENTS; index++) {
      assert.equal(rig.add(plainFragment(long, index * 24, index * 24 + 24, 1)), 0);
    }
    assert.equal(
      rig.add(plainFragment(long, MAX_FRAGMENTS * 24, MAX_FRAGMENTS * 24 + 24, 1)),
      -DROP.fragment_limit,
    );
    assert.deepEqual(rig.dropped, [`1 fragment_limit ${MAX_FRAGMENTS}`]);
  });

  it('evicts the oldest of a source that waits for too many', () => {
    const rig = new ReassemblyRig(64);
    for (let identification = 0; identification < 9; identification++) {
      assert.equal(rig.add(plainFragment(packet, 0, 1000, identification)), 0);
    }
    assert.deepEqual(rig.dropped, ['1 fragment_limit 1']);
    // The oldest went; the second oldest is still there.
    assert.equal(rig.add(plainFragment(packet, 1000, 2000, 1)), 0);
    assert.ok(rig.add(plainFragment(packet, 2000, 3000, 1)) > 0);
  });

  it('keeps within its memory under a flood of first fragments, and other sites get through', () => {
    const rig = new ReassemblyRig(64, 512 * 1024);
    const guard = rig.bench.poolOffset + rig.poolBytes;
    rig.bench.memory.bytes.fill(0xa5, guard);
    const first = plainFragment(from(0), 0, 1480, 0);
    const view = rig.bench.put(first);
    let answered = 0;
    let completed = 0;
    for (let count = 0; count < 100_000; count++) {
      // One site, many sources and identifications, as decode would show them.
      view.src3 = 0x0000000a | ((count & 0xffff) << 16);
      view.identification = (count >>> 3) & 0xffff;
      assert.equal(rig.reassembler.add(view, 6, count >>> 7), 0);
      answered++;
      if (count % 500 !== 0) continue;
      // Another site's datagram, one fragment now, the next one 500 packets of the flood later.
      const step = (count / 500) % 3;
      const answer = rig.add(plainFragment(packet, step * 1000, step * 1000 + 1000, 9), 7, count >>> 7);
      if (step === 2) completed++;
      assert.equal(answer > 0, step === 2, `at packet ${count}`);
      rig.reassembler.release();
      rig.bench.put(first);
      assert.ok(rig.reassembler.waiting <= 33, 'one site has half of the records');
      assert.ok(rig.reassembler.heldBytes <= rig.poolBytes);
    }
    assert.ok(completed > 60);
    assert.ok(rig.dropped.every((line) => line === '6 fragment_limit 1'));
    rig.reassembler.sweep(60_000);
    // Every packet of the flood is accounted for; so are the other site's two that the last round left over.
    assert.equal(rig.droppedFragments, answered + 2);
    assert.ok(rig.bench.memory.bytes.slice(guard).every((byte) => byte === 0xa5));
  });

  it('takes records and pages from the greediest space only', () => {
    const rig = new ReassemblyRig(64, 512 * 1024);
    // Spaces 1 to 16 wait for one small datagram each, space 20 for as many as it may, then space 21.
    for (let space = 1; space <= 16; space++)
      assert.equal(rig.add(plainFragment(packet, 0, 1000, 1), space), 0);
    for (let source = 0; source < 40; source++)
      assert.equal(rig.add(plainFragment(from(source), 0, 1000, 1), 20), 0);
    for (let source = 0; source < 40; source++)
      assert.equal(rig.add(plainFragment(from(source), 0, 1000, 1), 21), 0);
    assert.equal(rig.reassembler.waiting, 64);
    assert.ok(rig.dropped.every((line) => line === '20 fragment_limit 1' || line === '21 fragment_limit 1'));
    for (let space = 1; space <= 16; space++) {
      assert.ok(rig.add(plainFragment(packet, 1000, 3000, 1), space) > 0, `space ${space} completes`);
    }
  });

  it('gives up pages of others before records run out', () => {
    const rig = new ReassemblyRig(256, 512 * 1024);
    const large = plainUdp(ENDS4, 1, 2, new Uint8Array(60_000));
    const small = plainFragment(packet, 0, 1000, 1);
    assert.equal(rig.add(small, 1), 0);
    for (let identification = 0; identification < 30; identification++) {
      for (let start = 0; start < 59_000; start += 1480) {
        assert.equal(rig.add(plainFragment(large, start, start + 1480, identification), 2), 0);
      }
      assert.ok(rig.reassembler.heldBytes <= (rig.poolBytes * 3) / 8, 'one space has half of the pages');
    }
    assert.ok(rig.dropped.length > 0);
    assert.ok(rig.dropped.every((line) => line.startsWith('2 fragment_limit')));
    assert.equal(rig.add(plainFragment(packet, 1000, 2000, 1), 1), 0);
    assert.ok(rig.add(plainFragment(packet, 2000, 3000, 1), 1) > 0);
  });

  it('lets a datagram that needs pages keep its own, though it is the oldest', () => {
    const rig = new ReassemblyRig(16, 256 * 1024);
    const large = plainUdp(ENDS4, 1, 2, new Uint8Array(60_000));
    const piece = (identification: number, start: number): number =>
      rig.add(plainFragment(large, start, Math.min(60_008, start + 1480), identification));
    assert.equal(piece(1, 0), 0);
    for (let start = 0; start < 40_000; start += 1480) assert.equal(piece(2, start), 0);
    let answer = 0;
    for (let start = 1480; start < 60_008; start += 1480) answer = piece(1, start);
    assert.ok(answer > 0);
    assert.deepEqual(rig.dropped, ['1 fragment_limit 28']);
  });

  it('says that the output is full, and works again after release', () => {
    const rig = new ReassemblyRig(64, 512 * 1024);
    const large = plainUdp(ENDS4, 1, 2, new Uint8Array(60_000));
    const send = (identification: number): number => {
      let answer = 0;
      for (let start = 0; start < 60_008; start += 1480) {
        answer = rig.add(plainFragment(large, start, Math.min(60_008, start + 1480), identification));
      }
      return answer;
    };
    let whole = 0;
    while (send(whole) > 0) whole++;
    assert.ok(whole >= 1);
    assert.deepEqual(rig.dropped, ['1 memory_full 40']);
    assert.equal(rig.reassembler.waiting, 0);
    rig.reassembler.release();
    assert.ok(send(100) > 0);
  });

  it('refuses a pool in which nothing would fit', () => {
    assert.throws(() => new ReassemblyRig(64, 64 * 1024), RangeError);
  });

  it('never throws, whatever the fragments say', () => {
    const random = seededRandom(20260);
    const rig = new ReassemblyRig(16, 512 * 1024);
    const guard = rig.bench.poolOffset + rig.poolBytes;
    rig.bench.memory.bytes.fill(0xa5, guard);
    let completed = 0;
    let taken = 0;
    for (let count = 0; count < 20_000; count++) {
      const ends = random() < 0.5 ? ENDS4 : ENDS6;
      const whole = plainUdp(ends, 1, 2, new Uint8Array(312));
      const unit = random() < 0.9 ? 80 : 8;
      const start = Math.floor(random() * 4) * unit * (random() < 0.02 ? 600 : 1);
      const end = start + (random() < 0.9 ? unit : Math.floor(random() * 30) * 8);
      const more = random() < 0.95 ? end < 320 : random() < 0.5;
      const bytes = plainFragment(whole, start, end, count >> 4, more);
      if (random() < 0.3) {
        bytes[Math.floor(random() * bytes.length)]! ^= 1 << Math.floor(random() * 8);
      }
      if (rig.bench.offer(bytes) !== 0) continue;
      if (rig.bench.view.fragment === 0) continue;
      taken++;
      const answer = rig.reassembler.add(rig.bench.view, count & 1, count * 3);
      if (answer > 0) {
        completed++;
        rig.reassembler.release();
      }
      if (count % 500 === 0) rig.reassembler.sweep(count * 3);
    }
    assert.ok(taken > 1000 && completed > 10, `${taken} taken, ${completed} completed`);
    rig.reassembler.sweep(20_000 * 3 + REASSEMBLY_TIMEOUT_MS);
    assert.equal(rig.reassembler.waiting, 0);
    assert.equal(rig.reassembler.heldBytes, 0);
    assert.ok(rig.bench.memory.bytes.slice(guard).every((byte) => byte === 0xa5));
  });
});
