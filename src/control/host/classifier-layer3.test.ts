/**
 * Exactly one taker on a layer-3 uplink: the uplink's packets, without a link header, go to the filter in an
 * interpreter of our own, to the filter on a real packet socket, and through the guard in a real kernel. Each is
 * known again by its IPv4 identification or IPv6 flow label, at which no rule looks.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import {
  type ClassifierCase,
  LAYER3_UPLINK,
  LAYER3_UPLINK_CASES,
  RANDOM_CHOICES,
  type RandomParts,
  randomCase,
} from '../../../test/fixtures/classifier-cases.ts';
import { runFilter } from '../../../test/support/bpf-interpreter.ts';
import type { FrameEndDevice } from '../../../test/support/frame-end.ts';
import { linesOf, NetworkNamespace } from '../../../test/support/network-namespace.ts';
import type { HostSetup } from '../compile/host-setup.ts';
import { classify } from './classifier.ts';
import { guardRules } from './guard-rules.ts';
import { socketFilter } from './socket-filter.ts';

const FRAME_END = join(import.meta.dirname, '../../../test/support/frame-end.ts');
const NAME = LAYER3_UPLINK.name;
const SETUP: HostSetup = { devices: [LAYER3_UPLINK] };
const FILTER = socketFilter(classify(LAYER3_UPLINK)!);
/** The number of a packet that the socket takes in any case: what was sent before it has arrived. */
const END = 0xffff;
const RANDOM_CASES = fc
  .sample(
    fc.record({
      version: fc.constantFrom<4 | 6>(4, 6),
      ...(Object.fromEntries(
        Object.entries(RANDOM_CHOICES).map(([part, choices]) => [part, fc.nat({ max: choices - 1 })]),
      ) as Record<keyof typeof RANDOM_CHOICES, fc.Arbitrary<number>>),
    }),
    { seed: 20260420, numRuns: 1000 },
  )
  .map((parts: RandomParts) => randomCase(parts));

/** The packet with a number in it. */
function numbered(packet: Buffer, number: number): Buffer {
  const bytes = Buffer.from(packet);
  if (bytes[0]! >> 4 === 6) {
    bytes.writeUInt16BE(number, 2);
    return bytes;
  }
  bytes.writeUInt16BE(number, 4);
  bytes.writeUInt16BE(0, 10);
  let sum = 0;
  for (let at = 0; at < (bytes[0]! & 15) * 4; at += 2) sum += bytes.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  bytes.writeUInt16BE(~sum & 0xffff, 10);
  return bytes;
}

function numberOf(packet: Buffer): number {
  return packet.readUInt16BE(packet[0]! >> 4 === 6 ? 2 : 4);
}

for (const [name, cases] of [
  ['by hand', LAYER3_UPLINK_CASES],
  ['at random', RANDOM_CASES],
] as const) {
  test(`the filter, interpreted: ${name}`, () => {
    for (const { name: what, expected, packet } of cases) {
      const ethertype = packet![0]! >> 4 === 4 ? 0x0800 : 0x86dd;
      const taken = runFilter(FILTER, packet!, { ethertype, packetType: 0 }) > 0;
      assert.equal(taken, expected === 'ours' || expected === 'both', what);
    }
  });
}

test('the rules look at no link header', () => {
  const conditions = classify(LAYER3_UPLINK)!.rules.flatMap((rule) => rule.conditions);
  assert.deepEqual(
    conditions.filter(({ kind }) => kind === 'vlan' || kind === 'receiver'),
    [],
  );
});

// --- in a real kernel ---------------------------------------------------------------------------------------

let gateway: NetworkNamespace;

before(() => {
  gateway = new NetworkNamespace();
  gateway.ip(
    `tuntap add ${NAME} mode tun vnet_hdr`,
    `link set ${NAME} addrgenmode none`,
    `link set ${NAME} up`,
  );
});

after(async () => {
  await gateway?.remove();
});

/** Notes what passes behind the guard, by its number: on the device, and where the host's IP begins. */
function observe(): void {
  const table = (family: string, hook: string): string => `
    add table ${family} observer
    delete table ${family} observer
    table ${family} observer {
      set ipv4 { typeof ip id; size 65535; flags dynamic; }
      set ipv6 { typeof ip6 flowlabel; size 65535; flags dynamic; }
      chain seen { type filter hook ${hook};
        iifname "${NAME}" update @ipv4 { ip id }
        iifname "${NAME}" update @ipv6 { ip6 flowlabel }
      }
    }
  `;
  gateway.nft(table('netdev', `ingress device "${NAME}" priority 0`));
  gateway.nft(table('inet', 'prerouting priority -440'));
}

function seenBehind(family: 'netdev' | 'inet'): Set<number> {
  const numbers = ['ipv4', 'ipv6'].flatMap((set) => {
    const listed = gateway.exec('nft', ['list', 'set', family, 'observer', set]);
    const elements = /elements = \{([^}]*)\}/.exec(listed)?.[1] ?? '';
    return elements.split(',').flatMap((element) => (element.trim() === '' ? [] : [Number(element)]));
  });
  return new Set(numbers);
}

/** Lets the packets arrive on the device; the numbers of those that the gateway's socket took. */
async function takenBySocket(cases: readonly ClassifierCase[]): Promise<Set<number>> {
  const open: FrameEndDevice[] = [
    { name: NAME, kind: 'tun' },
    { name: NAME, kind: 'ip', filter: FILTER },
  ];
  const ends = gateway.spawn(process.execPath, [FRAME_END, JSON.stringify(open)]);
  const lines = linesOf(ends);
  await lines.next();
  const last = numbered(cases.find(({ expected }) => expected === 'ours')!.packet!, END);
  const packets = [...cases.map(({ packet }, index) => numbered(packet!, index + 1)), last];
  ends.stdin.write(
    `${JSON.stringify({ device: 0, frames: packets.map((bytes) => bytes.toString('hex')) })}\n`,
  );
  const taken = new Set<number>();
  for (;;) {
    const { value, done } = await lines.next();
    assert.ok(!done, 'the socket was closed early');
    const { device, frame } = JSON.parse(value) as { device: number; frame: string };
    // The host's answers leave by the far end.
    if (device === 0) continue;
    const number = numberOf(Buffer.from(frame, 'hex'));
    if (number === END) break;
    taken.add(number);
  }
  ends.kill();
  return taken;
}

const TAKERS = { true: { true: 'both', false: 'ours' }, false: { true: 'host', false: 'nobody' } } as const;

for (const [name, cases] of [
  ['by hand', LAYER3_UPLINK_CASES],
  ['at random', RANDOM_CASES],
] as const) {
  for (const [line, family, hooked] of [
    ['exactly one taker in the kernel', 'netdev', [NAME]],
    ['the second line, without a hook on the device', 'inet', []],
  ] as const) {
    test(`${line}: ${name}`, async () => {
      gateway.nft(guardRules(SETUP, new Set(hooked), 'test'));
      observe();
      const socket = await takenBySocket(cases);
      const host = seenBehind(family);
      const wrong = cases.flatMap(({ name: what, expected }, index) => {
        const found = TAKERS[`${socket.has(index + 1)}`][`${host.has(index + 1)}`];
        return found === expected ? [] : [`${what}: ${found} instead of ${expected}`];
      });
      assert.deepEqual(wrong, []);
    });
  }
}

test('without the guard, the observer would see all of it', async () => {
  gateway.nft(
    'add table inet homeward\ndelete table inet homeward\nadd table netdev homeward\ndelete table netdev homeward',
  );
  observe();
  await takenBySocket(LAYER3_UPLINK_CASES);
  assert.equal(seenBehind('netdev').size, LAYER3_UPLINK_CASES.length + 1);
});
