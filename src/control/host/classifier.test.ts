/**
 * Every packet has exactly one taker: the same frames go to the filter in an interpreter of our own, to the
 * filter on a real packet socket, and through the guard in a real kernel.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import {
  type ClassifierCase,
  HOST_MAC,
  INTERCONNECT,
  INTERCONNECT_CASES,
  LAYER3,
  RANDOM_CHOICES,
  type RandomParts,
  randomCase,
  UPLINK,
  UPLINK_CASES,
} from '../../../test/fixtures/classifier-cases.ts';
import { runFilter } from '../../../test/support/bpf-interpreter.ts';
import type { FrameEndDevice } from '../../../test/support/frame-end.ts';
import { linesOf, NetworkNamespace } from '../../../test/support/network-namespace.ts';
import { packet, ports } from '../../../test/support/raw-frames.ts';
import type { HostSetup } from '../compile/host-setup.ts';
import { classify } from './classifier.ts';
import { guardRules } from './guard-rules.ts';
import { MAX_FILTER_INSTRUCTIONS, socketFilter } from './socket-filter.ts';

const FRAME_END = join(import.meta.dirname, '../../../test/support/frame-end.ts');
const SETUP: HostSetup = { devices: [UPLINK, INTERCONNECT, LAYER3] };
const FILTERS = SETUP.devices.map((device) => socketFilter(classify(device)!));
const RANDOM_CASES = fc
  .sample(
    fc.record({
      version: fc.constantFrom<4 | 6>(4, 6),
      ...(Object.fromEntries(
        Object.entries(RANDOM_CHOICES).map(([part, choices]) => [part, fc.nat({ max: choices - 1 })]),
      ) as Record<keyof typeof RANDOM_CHOICES, fc.Arbitrary<number>>),
    }),
    { seed: 20260419, numRuns: 1500 },
  )
  .map((parts: RandomParts) => randomCase(parts));

/** A case's number as the source MAC of its frame. */
function sourceMac(index: number): string {
  return `02:00:01:00:${(index >> 8).toString(16).padStart(2, '0')}:${(index & 255).toString(16).padStart(2, '0')}`;
}

/** What the kernel would note of a frame, and the frame without its tag. */
function asSeen(frame: Buffer): { bytes: Buffer; ethertype: number; packetType: number; vlanTag?: number } {
  const destination = frame.subarray(0, 6).toString('hex');
  const isGroup = (frame[0]! & 1) === 1;
  const packetType =
    destination === HOST_MAC.replaceAll(':', '') ? 0 : destination === 'ffffffffffff' ? 1 : isGroup ? 2 : 3;
  if (frame.readUInt16BE(12) !== 0x8100)
    return { bytes: frame, ethertype: frame.readUInt16BE(12), packetType };
  return {
    bytes: Buffer.concat([frame.subarray(0, 12), frame.subarray(16)]),
    ethertype: frame.readUInt16BE(16),
    packetType,
    vlanTag: frame.readUInt16BE(14),
  };
}

for (const [device, name, cases] of [
  [0, 'uplink', UPLINK_CASES],
  [0, 'uplink, at random', RANDOM_CASES],
  [1, 'interconnect', INTERCONNECT_CASES],
] as const) {
  test(`the filter, interpreted: ${name}`, () => {
    cases.forEach(({ name: what, expected, frame }, index) => {
      const { bytes, ...notes } = asSeen(frame(sourceMac(index)));
      const taken = runFilter(FILTERS[device]!, bytes, notes) > 0;
      assert.equal(taken, expected === 'ours' || expected === 'both', what);
    });
  });
}

test('the random cases reach every taker in both versions', () => {
  for (const version of ['"version":4', '"version":6']) {
    for (const taker of ['ours', 'host', 'both']) {
      const reached = RANDOM_CASES.filter(
        ({ name, expected }) => name.includes(version) && expected === taker,
      );
      assert.ok(reached.length >= 20, `${version} ${taker}: ${reached.length}`);
    }
  }
});

test('on an uplink beside SAs, what has the mark of something decrypted is not ours', () => {
  const filter = socketFilter(classify({ ...UPLINK, besideSas: true })!);
  UPLINK_CASES.forEach(({ name: what, expected, frame }, index) => {
    const { bytes, ...notes } = asSeen(frame(sourceMac(index)));
    for (const mark of [0, 0x67ffffff, 0x69000000]) {
      const isOurs = expected === 'ours' || expected === 'both';
      assert.equal(runFilter(filter, bytes, { ...notes, mark }) > 0, isOurs, what);
    }
    assert.equal(runFilter(filter, bytes, { ...notes, mark: 0x68000007 }), 0, what);
  });
});

test('a truncated packet is not ours beyond what is there, and the filter ends', () => {
  UPLINK_CASES.forEach(({ frame }, index) => {
    const { bytes, ...notes } = asSeen(frame(sourceMac(index)));
    for (let length = 14; length < bytes.length; length++) {
      const whole = runFilter(FILTERS[0]!, bytes, notes) > 0;
      const cut = runFilter(FILTERS[0]!, bytes.subarray(0, length), notes) > 0;
      assert.ok(whole || !cut);
    }
  });
});

test('a long program reaches its far rules, and one that is too long is refused', () => {
  const remotes = (count: number) =>
    Array.from({ length: count }, (_, at) => ({
      local: '192.0.2.1',
      remote: `10.${at >> 16}.${(at >> 8) & 255}.${at & 255}`,
    }));
  const filter = socketFilter(classify({ ...UPLINK, gre: remotes(900) })!);
  assert.ok(filter.length <= MAX_FILTER_INSTRUCTIONS);
  const take = (source: string, protocol: number, body: Buffer): boolean => {
    const bytes = Buffer.concat([
      Buffer.alloc(14),
      packet({ source, destination: '192.0.2.1', protocol }, body),
    ]);
    return runFilter(filter, bytes, { ethertype: 0x0800, packetType: 0 }) > 0;
  };
  assert.equal(take('10.0.0.0', 47, Buffer.alloc(20)), true);
  assert.equal(take('10.0.3.131', 47, Buffer.alloc(20)), true);
  assert.equal(take('10.0.3.132', 47, Buffer.alloc(20)), false);
  assert.equal(take('10.0.3.131', 17, ports(1, 41000)), true);
  assert.equal(take('10.0.3.131', 17, ports(1, 50000)), false);
  assert.throws(() => socketFilter(classify({ ...UPLINK, gre: remotes(4000) })!), /instructions, the kernel/);
});

// --- in a real kernel ---------------------------------------------------------------------------------------

let gateway: NetworkNamespace;
let peer: NetworkNamespace;

before(() => {
  gateway = new NetworkNamespace();
  peer = new NetworkNamespace();
  for (const device of ['up0', 'ic0']) {
    gateway.ip(`link add ${device} address ${HOST_MAC} type veth peer name ${device} netns ${peer.name}`);
    for (const namespace of [gateway, peer]) {
      namespace.ip(`link set ${device} addrgenmode none`, `link set ${device} up`);
    }
  }
  gateway.ip('tuntap add l3 mode tun vnet_hdr', 'link set l3 up');
});

after(async () => {
  await gateway?.remove();
  await peer?.remove();
});

/** Counts what passes behind the guard, by source MAC: on the devices, and where the host's IP begins. */
function observe(): void {
  gateway.nft(`
    add table netdev observer
    delete table netdev observer
    table netdev observer {
      set up0 { type ether_addr; size 65535; flags dynamic; }
      set ic0 { type ether_addr; size 65535; flags dynamic; }
      chain up0 { type filter hook ingress device "up0" priority 0; update @up0 { ether saddr }
      }
      chain ic0 { type filter hook ingress device "ic0" priority 0; update @ic0 { ether saddr }
      }
    }
    add table inet observer
    delete table inet observer
    table inet observer {
      set up0 { type ether_addr; size 65535; flags dynamic; }
      set ic0 { type ether_addr; size 65535; flags dynamic; }
      counter l3 { }
      chain prerouting { type filter hook prerouting priority -440;
        iifname "up0" update @up0 { ether saddr }
        iifname "ic0" update @ic0 { ether saddr }
        iifname "l3" counter name l3
      }
    }
  `);
}

function seenBehind(family: 'netdev' | 'inet', device: string): Set<string> {
  const listed = gateway.exec('nft', ['list', 'set', family, 'observer', device]);
  return new Set(listed.match(/([0-9a-f]{2}:){5}[0-9a-f]{2}/g) ?? []);
}

/** Sends the cases' frames to the gateway; the source MACs that its socket took. */
async function takenBySocket(device: 0 | 1, cases: readonly ClassifierCase[]): Promise<Set<string>> {
  const name = SETUP.devices[device]!.name;
  const open: FrameEndDevice[] = [{ name, kind: 'ethernet', filter: FILTERS[device]! }];
  const socket = gateway.spawn(process.execPath, [FRAME_END, JSON.stringify(open)]);
  const sender = peer.spawn(process.execPath, [FRAME_END, JSON.stringify([{ name, kind: 'ethernet' }])]);
  const received = linesOf(socket);
  const sent = linesOf(sender);
  await received.next();
  await sent.next();
  // The last frame is for the socket in any case: what came before it has arrived.
  const end = 'f2:00:00:00:00:00';
  const last = (device === 0 ? UPLINK_CASES[1]! : INTERCONNECT_CASES[0]!).frame(end);
  const frames = [...cases.map(({ frame }, index) => frame(sourceMac(index))), last];
  sender.stdin.write(
    `${JSON.stringify({ device: 0, frames: frames.map((bytes) => bytes.toString('hex')) })}\n`,
  );
  const taken = new Set<string>();
  for (;;) {
    const { value, done } = await received.next();
    assert.ok(!done, 'the socket was closed early');
    const source = Buffer.from((JSON.parse(value) as { frame: string }).frame, 'hex').subarray(6, 12);
    const mac = source.toString('hex').replace(/..(?!$)/g, '$&:');
    if (mac === end) break;
    taken.add(mac);
  }
  socket.kill();
  sender.kill();
  return taken;
}

function compare(cases: readonly ClassifierCase[], socket: Set<string>, host: Set<string>): void {
  const wrong = cases.flatMap(({ name, expected }, index) => {
    const mac = sourceMac(index);
    const takers = {
      true: { true: 'both', false: 'ours' },
      false: { true: 'host', false: 'nobody' },
    } as const;
    const found = takers[`${socket.has(mac)}`][`${host.has(mac)}`];
    return found === expected ? [] : [`${name}: ${found} instead of ${expected}`];
  });
  assert.deepEqual(wrong, []);
}

for (const [device, name, cases] of [
  [0, 'uplink', UPLINK_CASES],
  [0, 'uplink, at random', RANDOM_CASES],
  [1, 'interconnect', INTERCONNECT_CASES],
] as const) {
  test(`exactly one taker in the kernel: ${name}`, async () => {
    gateway.nft(guardRules(SETUP, new Set(['up0', 'ic0', 'l3']), 'test'));
    observe();
    const socket = await takenBySocket(device, cases);
    compare(cases, socket, seenBehind('netdev', SETUP.devices[device]!.name));
  });

  test(`the second line, without hooks on the devices: ${name}`, async () => {
    gateway.nft(guardRules(SETUP, new Set(), 'test'));
    observe();
    const socket = await takenBySocket(device, cases);
    const host = seenBehind('inet', SETUP.devices[device]!.name);
    // Tagged frames and those for other stations do not come as far as this hook, whoever takes them.
    const comesSoFar = (frame: Buffer): boolean => {
      const { vlanTag, ethertype, packetType } = asSeen(frame);
      return packetType !== 3 && vlanTag === undefined && (ethertype === 0x0800 || ethertype === 0x86dd);
    };
    const some = cases.filter(({ frame }) => comesSoFar(frame(sourceMac(0))));
    assert.ok(some.length > 2);
    const numbers = new Map(cases.map((entry, index) => [entry, index]));
    for (const entry of some) {
      const isHost = entry.expected === 'host' || entry.expected === 'both';
      assert.equal(host.has(sourceMac(numbers.get(entry)!)), isHost, entry.name);
    }
    assert.ok(socket.size > 0);
  });
}

test("a layer-3 device is the socket's alone", async () => {
  gateway.nft(guardRules(SETUP, new Set(['l3']), 'test'));
  observe();
  const open: FrameEndDevice[] = [
    { name: 'l3', kind: 'tun' },
    { name: 'l3', kind: 'ip', filter: FILTERS[2]! },
  ];
  const ends = gateway.spawn(process.execPath, [FRAME_END, JSON.stringify(open)]);
  const lines = linesOf(ends);
  await lines.next();
  const frames = [
    packet({ source: '10.9.0.1', destination: '10.9.0.2', protocol: 17 }, ports(1, 2)),
    packet({ source: 'fd00::1', destination: 'fd00::2', protocol: 17 }, ports(1, 2)),
  ].map((bytes) => bytes.toString('hex'));
  ends.stdin.write(`${JSON.stringify({ device: 0, frames })}\n`);
  for (const frame of frames) {
    assert.deepEqual(JSON.parse((await lines.next()).value), { device: 1, frame });
  }
  assert.match(gateway.exec('nft', ['list', 'counter', 'inet', 'observer', 'l3']), /packets 0 /);
});

test('without the guard, the observers would see all of it', async () => {
  gateway.nft('add table inet homeward\ndelete table inet homeward\ndelete table netdev homeward');
  observe();
  await takenBySocket(0, UPLINK_CASES);
  assert.equal(seenBehind('netdev', 'up0').size, UPLINK_CASES.length + 1);
});
