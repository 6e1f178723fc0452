/** What a preview answers is what acquiring gives, and it changes nothing; under random sequences of everything. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/packet.ts';
import type { AddressWords, TranslationPool } from './port-pool.ts';
import { TRANSLATION_NO_PORTS, Translation } from './translation.ts';
import { translationWords } from './translation-layout.ts';

const EGRESS = 900;
const SITES = [1, 2, 3];
const A: AddressWords = [0, 0, 0, 0x01_02_03_04];
const B: AddressWords = [0, 0, 0, 0x05_06_07_08];

function pool(
  address: AddressWords,
  portMin: number,
  portMax: number,
  quotaPerSite: number,
): TranslationPool {
  return { egress: EGRESS, family: 4, address, portMin, portMax, quotaPerSite };
}

const SETUPS: readonly (readonly TranslationPool[])[] = [
  [pool(A, 2040, 2051, 6)],
  [pool(A, 2040, 2051, 6), pool(B, 2046, 2050, 3)],
  [pool(B, 2046, 2055, 10)],
];
const HOLDS_MS = [0, 700, 3000, 20_000, 240_000, 9_000_000];
const STEPS_MS = [1, 300, 1500, 10_000, 100_000, 9_500_000];

const command = fc.record({ kind: fc.nat({ max: 99 }), a: fc.nat({ max: 1000 }), b: fc.nat({ max: 1000 }) });

test('says what would be, and changes nothing', () => {
  let [given, refused, inherited] = [0, 0, 0];
  const run = (commands: readonly { kind: number; a: number; b: number }[], start: number): void => {
    const words = new Int32Array(translationWords(3));
    let nowMs = start;
    const subject = new Translation(words, 77, nowMs);
    const configure = (setup: number): void => {
      for (const slot of subject.configure(SETUPS[setup % SETUPS.length]!, [], nowMs, SITES).ended) {
        while (live.has(slot)) release(slot, 5000);
      }
    };
    /** Flows by slot. */
    const live = new Map<number, number>();
    const owners = new Map<number, number>();
    const release = (slot: number, holdMs: number): void => {
      subject.release(slot, holdMs, nowMs);
      const flows = live.get(slot)! - 1;
      if (flows === 0) live.delete(slot);
      else live.set(slot, flows);
    };
    configure(0);
    for (const { kind, a, b } of commands) {
      const slot = [...live.keys()][a % Math.max(1, live.size)];
      if (kind < 60) {
        const ask = [
          ...[EGRESS, 1 + (a % 4), 4, 0, 0, 0, b % 4, (b >> 2) % 4],
          a % 3 === 0 ? PROTOCOL_TCP : PROTOCOL_UDP,
          nowMs,
        ] as unknown as Parameters<Translation['acquire']>;
        const before = words.slice();
        const twice = [subject.preview(...ask), subject.preview(...ask)];
        assert.ok(Buffer.from(words.buffer).equals(Buffer.from(before.buffer)), 'it is as it was');
        const got = subject.acquire(...ask);
        assert.deepEqual(twice, [got, got]);
        if (got === TRANSLATION_NO_PORTS) refused++;
        if (got < 0) continue;
        given++;
        if ((owners.get(got) ?? ask[1]) !== ask[1]) inherited++;
        owners.set(got, ask[1]);
        subject.retain(got);
        live.set(got, (live.get(got) ?? 0) + 1);
      } else if (kind < 80) {
        if (slot !== undefined) release(slot, HOLDS_MS[b % HOLDS_MS.length]!);
      } else if (kind < 95) {
        nowMs = (nowMs + STEPS_MS[b % STEPS_MS.length]!) | 0;
      } else if (kind < 98) {
        subject.sweep(nowMs);
      } else {
        configure(b);
      }
    }
  };
  fc.assert(
    fc.property(
      fc.array(command, { minLength: 20, maxLength: 150 }),
      fc.constantFrom(0, 0x7fff_ffff - 20_000, -30_000),
      run,
    ),
    { seed: 20261, numRuns: 600 },
  );
  // The sequences reach all of it often enough to mean something.
  assert.ok(given > 5000, `${given} given`);
  assert.ok(refused > 100, `${refused} refused`);
  assert.ok(inherited > 100, `${inherited} ports that another site had had`);
});

test('a port whose hold has ended is to be had, though nobody has looked since', () => {
  const subject = new Translation(new Int32Array(translationWords(2)), 77, 0);
  subject.configure([pool(A, 2048, 2048, 1)], [], 0);
  const ask = (space: number, nowMs: number) =>
    [EGRESS, space, 4, 0, 0, 0, 9, 1000, PROTOCOL_UDP, nowMs] as const;
  const slot = subject.acquire(...ask(1, 0));
  subject.retain(slot);
  subject.release(slot, 60_000, 0);
  assert.equal(subject.preview(...ask(2, 59_000)), TRANSLATION_NO_PORTS);
  assert.equal(subject.preview(...ask(2, 62_000)), slot);
  assert.equal(subject.acquire(...ask(2, 62_000)), slot);
});
