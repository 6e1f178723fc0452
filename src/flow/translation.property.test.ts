/** Translation against a plain model, under random sequences of everything that can happen to it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/packet.ts';
import type { AddressWords, ReservedPort, TranslationPool } from './port-pool.ts';
import {
  TRANSLATION_NO_ADDRESS,
  TRANSLATION_NO_PORTS,
  TRANSLATION_QUOTA,
  Translation,
} from './translation.ts';
import { translationWords } from './translation-layout.ts';

const EGRESS = 900;
const A: AddressWords = [0, 0, 0, 0x01_02_03_04];
const B: AddressWords = [0, 0, 0, 0x05_06_07_08];
const SIX: AddressWords = [1, 2, 3, 4];
/** A hold lasts up to so much longer than asked for. */
const SLACK_MS = 1024;

interface Setup {
  readonly pools: readonly TranslationPool[];
  readonly reserved: readonly ReservedPort[];
}

function pool(
  address: AddressWords,
  portMin: number,
  portMax: number,
  quotaPerSite: number,
): TranslationPool {
  return { egress: EGRESS, family: address === SIX ? 6 : 4, address, portMin, portMax, quotaPerSite };
}

/** Ranges lie across a chunk's border (2047/2048). */
const SETUPS: readonly Setup[] = [
  { pools: [pool(A, 2044, 2051, 5), pool(B, 2046, 2049, 3), pool(SIX, 2046, 2049, 3)], reserved: [] },
  { pools: [pool(A, 2044, 2051, 5)], reserved: [] },
  { pools: [pool(A, 2047, 2053, 4), pool(SIX, 2044, 2047, 3)], reserved: [] },
  {
    pools: [pool(A, 2044, 2051, 2), pool(B, 2046, 2049, 3)],
    reserved: [{ egress: EGRESS, family: 4, address: A, protocol: PROTOCOL_TCP, port: 2048 }],
  },
  { pools: [pool(B, 2046, 2049, 4)], reserved: [] },
];

/** External endpoint as text, as a peer on the internet tells them apart. */
function externalOf(translation: Translation, slot: number, protocolClass: string): string {
  const at = translation.externalAddressAt(slot);
  const address = translation.words.slice(at, at + 4).join('.');
  return `${translation.egressSpace(slot)}|${address}|${protocolClass}|${translation.externalPort(slot)}`;
}

const CLASS_NAMES = ['tcp', 'udp', 'icmp'];

function externalsOf(setup: Setup, given: TranslationPool, protocolClass: string): string[] {
  const externals: string[] = [];
  for (let port = given.portMin; port <= given.portMax; port++) {
    const isReserved = setup.reserved.some(
      (one) => one.address === given.address && one.port === port && protocolClass === 'tcp',
    );
    if (!isReserved) externals.push(`${given.egress}|${given.address.join('.')}|${protocolClass}|${port}`);
  }
  return externals;
}

interface Endpoint {
  readonly space: number;
  readonly family: number;
  readonly address: AddressWords;
  readonly port: number;
  readonly protocol: number;
  readonly className: string;
}

interface Mapping {
  readonly endpoint: Endpoint;
  readonly slot: number;
  readonly external: string;
  references: number;
}

interface Hold {
  readonly space: number;
  readonly until: number;
}

/** What must hold, kept in the plainest way; times are plain numbers that do not wrap. */
class Model {
  setup: Setup = SETUPS[0]!;
  nowMs: number;
  readonly offset: number;
  memory: Int32Array;
  subject: Translation;
  readonly mappings = new Map<string, Mapping>();
  readonly holds = new Map<string, Hold>();
  given = 0;

  constructor(startMs: number) {
    this.offset = startMs;
    this.nowMs = 0;
    this.memory = new Int32Array(translationWords(6));
    this.subject = new Translation(this.memory, 77, this.clock());
    this.subject.configure(this.setup.pools, this.setup.reserved, this.clock());
  }

  /** The time as the subject is told it: wraps. */
  clock(): number {
    return (this.offset + this.nowMs) | 0;
  }

  endpoint(a: number, b: number): Endpoint {
    const kind = a % 3;
    const family = a % 5 === 4 ? 6 : 4;
    const host = b % 4;
    return {
      space: 1 + (a % 2) + (b % 3 === 0 ? 1 : 0),
      family,
      address: family === 4 ? [0, 0, 0, host] : [9, host, 0, 1],
      port: (b >> 3) % 3,
      protocol: [PROTOCOL_TCP, PROTOCOL_UDP, family === 4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6][kind]!,
      className: CLASS_NAMES[kind]!,
    };
  }

  liveOf(given: TranslationPool, className: string, space: number): number {
    const externals = new Set(externalsOf(this.setup, given, className));
    let live = 0;
    for (const mapping of this.mappings.values()) {
      if (mapping.endpoint.space === space && externals.has(mapping.external)) live++;
    }
    return live;
  }

  acquire(endpoint: Endpoint, keep: boolean): void {
    const { space, family, address, port, protocol, className } = endpoint;
    const key = JSON.stringify(endpoint);
    const slot = this.subject.acquire(EGRESS, space, family, ...address, port, protocol, this.clock());
    const known = this.mappings.get(key);
    const pools = this.setup.pools.filter((given) => given.family === family);
    if (slot < 0) {
      assert.equal(known, undefined, 'an endpoint with a live mapping is never refused');
      this.checkRefusal(slot, pools, className, space);
      return;
    }
    this.given++;
    const external = externalOf(this.subject, slot, className);
    if (known !== undefined) {
      assert.equal(slot, known.slot, 'the same endpoint, the same slot');
    } else {
      for (const other of this.mappings.values()) {
        assert.notEqual(external, other.external, 'exclusive');
      }
      const home = pools.find((given) => externalsOf(this.setup, given, className).includes(external));
      assert.ok(home !== undefined, `${external} is configured and not reserved`);
      assert.ok(this.liveOf(home, className, space) < home.quotaPerSite, 'within the quota');
      const hold = this.holds.get(external);
      assert.ok(
        hold === undefined || hold.space === space || hold.until <= this.nowMs,
        'held for another site',
      );
    }
    const at = this.subject.internalAddressAt(slot);
    assert.deepEqual([...this.memory.slice(at, at + 4)], [...address]);
    assert.equal(this.subject.internalPort(slot), port);
    assert.equal(this.subject.siteSpace(slot), space);
    if (!keep) {
      this.subject.abandon(slot, this.clock());
      if (known === undefined) this.hold(external, space, 0);
      return;
    }
    this.subject.retain(slot);
    if (known !== undefined) known.references++;
    else this.mappings.set(key, { endpoint, slot, external, references: 1 });
  }

  /** A refusal is right only if every pool really has nothing for this site. */
  checkRefusal(code: number, pools: readonly TranslationPool[], className: string, space: number): void {
    if (pools.length === 0) {
      assert.equal(code, TRANSLATION_NO_ADDRESS);
      return;
    }
    assert.ok(code === TRANSLATION_QUOTA || code === TRANSLATION_NO_PORTS, `code ${code}`);
    const live = new Set([...this.mappings.values()].map((mapping) => mapping.external));
    let quotaEverywhere = true;
    for (const given of pools) {
      if (this.liveOf(given, className, space) >= given.quotaPerSite) continue;
      quotaEverywhere = false;
      for (const external of externalsOf(this.setup, given, className)) {
        const hold = this.holds.get(external);
        const isHeld = hold !== undefined && hold.space !== space && hold.until + SLACK_MS > this.nowMs;
        assert.ok(live.has(external) || isHeld, `${external} was to be had`);
      }
    }
    assert.equal(code === TRANSLATION_QUOTA, quotaEverywhere);
  }

  hold(external: string, space: number, holdMs: number): void {
    const before = this.holds.get(external);
    const until = this.nowMs + holdMs;
    this.holds.set(external, {
      space,
      until: before?.space === space ? Math.max(before.until, until) : until,
    });
  }

  release(key: string, holdMs: number): void {
    const mapping = this.mappings.get(key)!;
    this.subject.release(mapping.slot, holdMs, this.clock());
    const { external } = mapping;
    const { space } = mapping.endpoint;
    this.hold(external, space, holdMs);
    mapping.references--;
    if (mapping.references === 0) this.mappings.delete(key);
  }

  releaseAll(key: string, holdMs: number): void {
    while (this.mappings.has(key)) this.release(key, holdMs);
  }

  configure(setup: Setup): void {
    const before = this.setup;
    this.setup = setup;
    const { ended, unplacedPorts } = this.subject.configure(setup.pools, setup.reserved, this.clock());
    assert.equal(unplacedPorts, 0);
    const usable = new Set(
      setup.pools.flatMap((given) => CLASS_NAMES.flatMap((name) => externalsOf(setup, given, name))),
    );
    const expected = [...this.mappings].filter(([, mapping]) => !usable.has(mapping.external));
    if (before !== setup) {
      assert.deepEqual(
        [...ended].sort((a, b) => a - b),
        expected.map(([, mapping]) => mapping.slot).sort((a, b) => a - b),
      );
    }
    for (const [key, mapping] of expected) {
      assert.equal(this.subject.isUsable(mapping.slot), false);
      this.releaseAll(key, 5000);
    }
  }

  /** The process is killed and started anew on what it left; flows that `lost` picks have no record. */
  restart(lost: number): void {
    this.memory = this.memory.slice();
    this.subject = new Translation(this.memory, 1, this.clock());
    this.subject.configure(this.setup.pools, this.setup.reserved, this.clock());
    let i = 0;
    for (const [key, mapping] of this.mappings) {
      const { space, address, port, protocol } = mapping.endpoint;
      if (lost !== 0 && i++ % lost === 0) {
        this.hold(mapping.external, space, 9000);
        this.mappings.delete(key);
        continue;
      }
      for (let flow = 0; flow < mapping.references; flow++) {
        assert.equal(this.subject.adopt(mapping.slot, space, ...address, port, protocol), true);
      }
    }
    this.subject.settle(9000, 9000, 9000, this.clock());
  }

  checkFindable(): void {
    for (const { endpoint, slot } of this.mappings.values()) {
      const at = this.subject.externalAddressAt(slot);
      const [a0, a1, a2, a3] = this.memory.slice(at, at + 4);
      const port = this.subject.externalPort(slot);
      const found = this.subject.findExternal(
        EGRESS,
        endpoint.family,
        a0!,
        a1!,
        a2!,
        a3!,
        endpoint.protocol,
        port,
      );
      assert.equal(found, slot);
    }
  }
}

const HOLDS_MS = [0, 700, 3000, 20_000, 240_000, 9_000_000];
const STEPS_MS = [1, 300, 1500, 10_000, 100_000, 5_000_000];

const command = fc.record({
  kind: fc.nat({ max: 99 }),
  a: fc.nat({ max: 1000 }),
  b: fc.nat({ max: 1000 }),
});

test('any sequence of flows, time, restarts and new configurations', () => {
  let given = 0;
  let refused = 0;
  fc.assert(
    fc.property(
      fc.array(command, { minLength: 20, maxLength: 120 }),
      fc.constantFrom(0, 0x7fff_ffff - 20_000, -30_000),
      (commands, start) => {
        const model = new Model(start);
        for (const { kind, a, b } of commands) {
          const keys = [...model.mappings.keys()];
          const key = keys[a % Math.max(1, keys.length)];
          const before = model.given;
          if (kind < 55) {
            model.acquire(model.endpoint(a, b), kind % 10 !== 0);
            refused += model.given === before ? 1 : 0;
          } else if (kind < 78) {
            if (key !== undefined) model.release(key, HOLDS_MS[b % HOLDS_MS.length]!);
          } else if (kind < 90) {
            model.nowMs += STEPS_MS[b % STEPS_MS.length]!;
          } else if (kind < 93) {
            model.subject.sweep(model.clock());
          } else if (kind < 97) {
            model.configure(SETUPS[b % SETUPS.length]!);
          } else {
            model.restart(b % 4);
          }
        }
        model.checkFindable();
        given += model.given;
      },
    ),
    { seed: 20260, numRuns: 1200 },
  );
  // The sequences reach both sides often enough to mean something.
  assert.ok(given > 10_000, `${given} given`);
  assert.ok(refused > 1000, `${refused} refused`);
});
