/**
 * The frames of `integration/hostile-traffic.test.ts` through the whole pipeline in memory: Ethernet and GRE, no
 * process and no clock, so that what breaks is found again by its seed.
 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { Plan, PlanPort } from '../../src/pipeline/plan.ts';
import { buildPacket } from '../../src/wire/build.ts';
import {
  DESCRIPTOR_DEVICE,
  DESCRIPTOR_LENGTH,
  DESCRIPTOR_OFFSET,
  DESCRIPTOR_WORDS,
} from '../../src/wire/frame.ts';
import { TCP_ACK, TCP_SYN } from '../../src/wire/packet.ts';
import { corpusAttack, GRE_REMOTES, siteAttack, UPLINK, uplinkAttack } from '../support/attacks.ts';
import { damage, type Wire } from '../support/hostile-frames.ts';
import { MemoryGateway, type MemoryGatewayOptions } from '../support/memory-gateway.ts';
import { tcp, text, utf8 } from '../support/packets.ts';
import { Random } from '../support/random.ts';

const SEED = 0x5eed_0003;
const DAMAGED_FRAMES = 300_000;
const BURST_FRAMES = 200;
const WIRE: Wire = { source: '02:00:00:00:00:02', destination: '02:00:00:00:00:01' };
const PREFIXES = ['10.0.1.0/24', 'fd00:1::/64'];
const CLIENT = '10.0.1.200 7777';
const SERVER = '10.50.9.9 9999';

const OPTIONS: MemoryGatewayOptions = {
  sites: [
    { name: 'paris', prefixes: PREFIXES },
    {
      name: 'nice',
      prefixes: PREFIXES,
      tunnels: [{ name: 'nice-4' }, { name: 'nice-6' }],
    },
    { name: 'lyon', prefixes: PREFIXES },
    { name: 'datacenter', prefixes: ['10.50.0.0/16', 'fd00:50::/48'] },
  ],
  egress: [
    { name: 'internet', pools: UPLINK.map((address) => ({ address, portMin: 61_000, quotaPerSite: 1000 })) },
  ],
  gatewayAddresses: [...UPLINK, ...GRE_REMOTES],
  maxFlows: 4096,
  flowTable: { perTunnel: 1000 },
};

/** paris and the uplink become Ethernet, nice GRE over the uplink. */
function onEthernet(plan: Plan): Plan {
  const internet = plan.ports.find(({ name }) => name === 'internet')!;
  const uplink = internet.link.device;
  const link = (port: PlanPort): PlanPort['link'] => {
    switch (port.name) {
      case 'paris':
        return {
          kind: 'ethernet',
          device: port.link.device,
          nextHop: {},
          onLink: PREFIXES,
          answers: ['10.0.1.1', 'fd00:1::1'],
          sourceAddresses: ['10.0.1.1', 'fd00:1::1'],
        };
      case 'internet':
        return {
          kind: 'ethernet',
          device: uplink,
          nextHop: { ipv4: '192.0.2.254', ipv6: '2001:db8:2::fe' },
          onLink: ['192.0.2.0/24', '2001:db8:2::/64'],
          answers: [],
          sourceAddresses: [...UPLINK],
        };
      case 'nice-4':
      case 'nice-6': {
        const end = port.name === 'nice-4' ? 0 : 1;
        return {
          kind: 'gre',
          local: UPLINK[end],
          remote: GRE_REMOTES[end],
          key: end === 0 ? 7 : null,
          checksum: false,
          sequence: false,
          ttl: 64,
          device: uplink,
          nextHop: GRE_REMOTES[end],
          sourceAddresses: [UPLINK[end]],
        };
      }
      default:
        return port.link;
    }
  };
  const ports = plan.ports.map((port) => ({ ...port, mtu: 1400, link: link(port) }) as PlanPort);
  const used = new Set(ports.map((port) => port.link.device));
  const devices = plan.devices
    .filter(({ index }) => used.has(index))
    .map((device) => {
      const isEthernet = device.name === 'paris' || device.name === 'internet';
      return isEthernet ? { ...device, kind: 'ethernet' as const, mac: WIRE.destination } : device;
    });
  return { ...plan, ports, devices };
}

function makeGateway(): MemoryGateway {
  const gateway = new MemoryGateway(OPTIONS);
  gateway.reconfigure(OPTIONS, onEthernet);
  gateway.io.recordSent = false;
  return gateway;
}

/** Runs everything that waits through the pipeline. */
function run(gateway: MemoryGateway): void {
  const { io, assembly } = gateway;
  do {
    io.nowMs = gateway.nowMs;
    const received = io.burst(0);
    assembly.beginBurst();
    for (let at = 0; at < received * DESCRIPTOR_WORDS; at += DESCRIPTOR_WORDS) {
      assembly.pipeline.receive(
        io.rx.words[at + DESCRIPTOR_OFFSET]!,
        io.rx.words[at + DESCRIPTOR_LENGTH]!,
        io.rx.words[at + DESCRIPTOR_DEVICE]!,
        gateway.nowMs,
      );
    }
  } while (io.waiting > 0);
  io.burst(0);
}

/** A connection of lyon's that must live through all of it. */
function connect(gateway: MemoryGateway): () => void {
  gateway.io.recordSent = true;
  gateway.send('lyon', tcp(CLIENT, SERVER, TCP_SYN, { sequence: 1 }));
  gateway.send('datacenter', tcp(SERVER, CLIENT, TCP_SYN | TCP_ACK, { sequence: 1, acknowledgment: 2 }));
  gateway.send('lyon', tcp(CLIENT, SERVER, TCP_ACK, { sequence: 2, acknowledgment: 2 }));
  gateway.io.recordSent = false;
  const { io } = gateway;
  const deviceOf = (name: string) => gateway.plan.ports.find((port) => port.name === name)!.link.device;
  const data = { sequence: 2, acknowledgment: 2, payload: utf8('alive') };
  const packet = buildPacket(tcp(SERVER, CLIENT, TCP_ACK, data));
  return () => {
    io.recordSent = true;
    io.inject(deviceOf('datacenter'), packet);
    run(gateway);
    io.recordSent = false;
    // Others may be sent too: what asks for neighbours again.
    const delivered = io.takeSent().filter(({ frame }) => text(frame).endsWith('alive'));
    assert.deepEqual(
      delivered.map(({ device }) => device),
      [deviceOf('lyon')],
    );
  };
}

/** Sends the frames into paris's device and the uplink, by turns of bursts. */
function attack(
  gateway: MemoryGateway,
  count: number,
  next: (at: number) => [port: string, frame: Uint8Array],
): void {
  const isAlive = connect(gateway);
  const devices = new Map(gateway.plan.ports.map(({ name, link }) => [name, link.device]));
  for (let at = 0; at < count; at++) {
    const [port, frame] = next(at);
    gateway.io.inject(devices.get(port)!, frame, 'ethernet');
    if (at % BURST_FRAMES !== BURST_FRAMES - 1 && at !== count - 1) continue;
    run(gateway);
    gateway.pass(at % 300);
    if (at % 10_000 < BURST_FRAMES) {
      isAlive();
      assert.deepEqual(gateway.assembly.state.table.verify(), []);
    }
  }
  isAlive();
  assert.deepEqual(gateway.failures, []);
  assert.deepEqual(gateway.assembly.state.table.verify(), []);
}

it(`${DAMAGED_FRAMES} damaged frames (seed ${SEED})`, () => {
  const random = new Random(SEED);
  const gateway = makeGateway();
  const sets = [siteAttack(WIRE), uplinkAttack(WIRE)];
  const memory = new Uint8Array(2048);
  attack(gateway, DAMAGED_FRAMES, (at) => {
    const frames = sets[at % 2]!;
    const frame = frames[random.next(frames.length)]!;
    memory.set(frame);
    const length = damage(random, memory, 0, frame.length);
    return [at % 2 === 0 ? 'paris' : 'internet', memory.slice(0, length)];
  });
  for (const port of ['paris', 'nice-4', 'nice-6', 'internet']) {
    const reasons = Object.keys(gateway.drops(port)).length;
    assert.ok(reasons > 5, `${reasons} kinds of drops at ${port}: the frames get somewhere`);
  }
});

it('every packet of tcpdump’s captures', () => {
  const gateway = makeGateway();
  const frames = corpusAttack(WIRE).filter((frame) => frame.length <= 65_000);
  attack(gateway, 2 * frames.length, (at) => [at % 2 === 0 ? 'paris' : 'internet', frames[at >> 1]!]);
});
