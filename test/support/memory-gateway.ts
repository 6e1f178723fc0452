/**
 * A whole gateway in memory: the real pipeline over the in-memory I/O, with ports on layer-3 devices, no process and
 * no device. For tests that look at what a packet becomes, or that run millions of them.
 */

import { createDataHalf } from '../../plugins/return-routing/return-routing.ts';
import { MemoryIo, type SentFrame } from '../../src/device/memory-io.ts';
import { FlowMemory, type FlowMemoryOptions, flowMemoryBytes } from '../../src/flow/flow-memory.ts';
import { heldTupleWords } from '../../src/flow/held-tuples.ts';
import { translationWords } from '../../src/flow/translation-layout.ts';
import { Assembly } from '../../src/pipeline/assembly.ts';
import type {
  Plan,
  PlanDiversionPort,
  PlanEgressPort,
  PlanPort,
  PlanTunnelPort,
} from '../../src/pipeline/plan.ts';
import type { LoadedPlugin, PluginFailure } from '../../src/pipeline/plugin-link.ts';
import { DIVERSION_ROUTER } from '../../src/plugin/diversion-addresses.ts';
import { DROP_REASON_NAMES } from '../../src/plugin/drop-reasons.ts';
import { formatAddressWords } from '../../src/wire/address.ts';
import { buildPacket, type PacketSpec } from '../../src/wire/build.ts';
import { verifyTransportChecksum } from '../../src/wire/checksum.ts';
import { decode } from '../../src/wire/decode.ts';
import {
  DESCRIPTOR_DEVICE,
  DESCRIPTOR_LENGTH,
  DESCRIPTOR_OFFSET,
  DESCRIPTOR_WORDS,
  FRAME_PREFIX_BYTES,
  FrameMemory,
} from '../../src/wire/frame.ts';
import { PacketView } from '../../src/wire/packet.ts';
import { NO_HOST } from './plugins.ts';

/** A packet that left the gateway, taken apart. */
export interface Delivered {
  readonly port: string;
  readonly source: string;
  readonly destination: string;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly view: PacketView;
  /** The IP packet, a copy. */
  readonly packet: Uint8Array;
  readonly payload: Uint8Array;
}

export interface SiteOptions {
  readonly name: string;
  readonly prefixes: readonly string[];
  /** Names of its tunnels; by default one with the site's name. */
  readonly tunnels?: readonly Partial<PlanTunnelPort>[];
  readonly mtu?: number;
}

export interface EgressOptions {
  readonly name: string;
  readonly pools: readonly { address: string; portMin?: number; portMax?: number; quotaPerSite?: number }[];
  readonly nat?: { ipv4: 'source' | 'none'; ipv6: 'source' | 'none' };
  readonly portForwards?: readonly {
    protocol: 'tcp' | 'udp';
    address: string;
    port: number;
    to: { site: string; address: string; port: number };
  }[];
}

export interface MemoryGatewayOptions {
  readonly sites: readonly SiteOptions[];
  readonly egress?: readonly EgressOptions[];
  /** Of policy plugins, by their names; the ports are named `PLUGIN/PLACE`. */
  readonly diversions?: readonly {
    plugin: string;
    place?: number;
    tcp?: number;
    udp?: number;
    enabled?: boolean;
  }[];
  /** `via` names a site or an egress; by default everything undeclared goes to the first egress. */
  readonly routes?: readonly { prefix: string; via: string; priority?: number }[];
  readonly maxFlows?: number;
  readonly flowTable?: Partial<Plan['flowTable']>;
  readonly policyPlugins?: readonly LoadedPlugin[];
  readonly gatewayAddresses?: readonly string[];
  /** Flow memory to go on with: as after a restart. */
  readonly memory?: ArrayBuffer;
  /** Time at the start, milliseconds since boot. */
  readonly nowMs?: number;
  /** External ports there is room for, in chunks of 1024. */
  readonly translationChunks?: number;
  /** Memory for the pipeline's own packets; 8 MiB by default. */
  readonly scratchBytes?: number;
  /** What the gateway gets instead of its flow memory: for who wants to know of every store. */
  readonly watchMemory?: (memory: FlowMemory) => FlowMemory;
}

const BOOT_ID = '00000000-0000-4000-8000-000000000000';

export function returnRouting(): LoadedPlugin {
  const half = createDataHalf(NO_HOST);
  return { name: 'return-routing', phase: 'routing', half };
}

function diversionName({ plugin, place = 0 }: { plugin: string; place?: number }): string {
  return `${plugin}/${place}`;
}

export function memoryPlan(options: MemoryGatewayOptions, generation = 1): Plan {
  const names = [
    ...options.sites.map((site) => site.name),
    ...(options.egress ?? []).map((egress) => egress.name),
    ...(options.diversions ?? []).map(diversionName),
  ];
  const spaceOf = (name: string): number => {
    const index = names.indexOf(name);
    if (index < 0) throw new Error(`no site or egress ${name}`);
    return index + 1;
  };
  const ports: PlanPort[] = [];
  const common = (name: string, space: number, mtu: number) => {
    const index = ports.length + 1;
    return {
      index,
      generation: 1,
      name,
      space,
      enabled: true,
      mtu,
      link: { kind: 'ip' as const, device: index },
    };
  };
  for (const site of options.sites) {
    for (const tunnel of site.tunnels ?? [{ name: site.name }]) {
      ports.push({
        ...common(site.name, spaceOf(site.name), site.mtu ?? 1500),
        role: 'tunnel',
        tunnelType: 'device',
        priority: 100,
        automaticReturnRouting: true,
        addresses: ['10.0.1.1', 'fd00:1::1'],
        ...tunnel,
      });
    }
  }
  for (const egress of options.egress ?? []) {
    const port: PlanEgressPort = {
      ...common(egress.name, spaceOf(egress.name), 1500),
      role: 'egress',
      addresses: [],
      translation: egress.nat ?? { ipv4: 'source', ipv6: 'source' },
      pools: egress.pools.map((pool) => ({ portMin: 1024, portMax: 65535, quotaPerSite: 60000, ...pool })),
      portForwards: (egress.portForwards ?? []).map((forward) => ({
        ...forward,
        to: { space: spaceOf(forward.to.site), address: forward.to.address, port: forward.to.port },
      })),
    };
    ports.push(port);
  }
  for (const diversion of options.diversions ?? []) {
    const { plugin, place = 0, tcp = null, udp = null, enabled = true } = diversion;
    const name = diversionName(diversion);
    const port: PlanDiversionPort = {
      ...common(name, spaceOf(name), 1500),
      ...{ role: 'diversion', addresses: Object.values(DIVERSION_ROUTER), plugin, place, tcp, udp, enabled },
    };
    ports.push(port);
  }
  const first = options.egress?.[0]?.name;
  const defaults = first === undefined ? [] : ['0.0.0.0/0', '::/0'].map((prefix) => ({ prefix, via: first }));
  return {
    generation,
    gatewayName: 'memory',
    spaces: [
      ...options.sites.map((site) => ({
        id: spaceOf(site.name),
        name: site.name,
        kind: 'site' as const,
        prefixes: site.prefixes,
      })),
      ...(options.egress ?? []).map((egress) => ({
        id: spaceOf(egress.name),
        name: egress.name,
        kind: 'egress' as const,
        prefixes: [],
      })),
      ...(options.diversions ?? []).map(diversionName).map((name) => ({
        id: spaceOf(name),
        name,
        kind: 'diversion' as const,
        prefixes: [],
      })),
    ],
    devices: ports.map((port) => ({ index: port.link.device, name: port.name, kind: 'ip', mtu: 1500 })),
    ports,
    routes: [...(options.routes ?? []), ...defaults].map((route) => ({
      prefix: route.prefix,
      via: spaceOf(route.via),
      priority: (route as { priority?: number }).priority ?? 100,
    })),
    gatewayAddresses: options.gatewayAddresses ?? [],
    flowTable: {
      maxFlows: options.maxFlows ?? 1024,
      perTunnel: 0,
      createRatePerTunnel: 0,
      createRatePerSource: 0,
      otherProtocols: [],
      ...options.flowTable,
    },
    plugins: [],
  };
}

export class MemoryGateway {
  readonly io: MemoryIo;
  readonly assembly: Assembly;
  /** The flow memory: give it to another gateway to play a restart. */
  readonly buffer: ArrayBuffer;
  readonly failures: ({ plugin: string } & PluginFailure)[] = [];
  plan: Plan;
  nowMs: number;
  private readonly options: MemoryGatewayOptions;
  private readonly flowMemory: FlowMemory;

  constructor(options: MemoryGatewayOptions) {
    this.options = options;
    this.nowMs = options.nowMs ?? 1_000_000;
    this.plan = memoryPlan(options);
    this.io = new MemoryIo({ scratchBytes: options.scratchBytes ?? 8 * 1024 * 1024 });
    for (const device of this.plan.devices) this.io.addDevice(device.index);
    const capacity = this.plan.flowTable.maxFlows;
    const memoryOptions: FlowMemoryOptions = {
      capacity,
      translationBytes: translationWords(options.translationChunks ?? 64 * 4) * 4,
      heldTupleBytes: heldTupleWords(capacity) * 4,
      bootId: BOOT_ID,
      hashSeed: [0x1234567, 0x89abcde],
    };
    this.buffer = options.memory ?? new ArrayBuffer(flowMemoryBytes(memoryOptions));
    const found = FlowMemory.open(this.buffer);
    const flowMemory = found.usable ? found.memory : FlowMemory.create(this.buffer, memoryOptions);
    this.flowMemory = options.watchMemory?.(flowMemory) ?? flowMemory;
    let random = 0x2545f491;
    this.assembly = new Assembly({
      frames: this.io,
      flowMemory: this.flowMemory,
      plan: this.plan,
      plugins: this.plugins(),
      onPluginFailure: (plugin, failure) => this.failures.push({ plugin: plugin.name, ...failure }),
      random: () => {
        random = Math.imul(random, 0x19660d) + 0x3c6ef35f;
        return random | 0;
      },
      nowMs: this.nowMs,
    });
  }

  /** Takes another plan made from these options. */
  reconfigure(options: MemoryGatewayOptions, change: (plan: Plan) => Plan = (plan) => plan): void {
    this.plan = change(memoryPlan(options, this.plan.generation + 1));
    for (const device of this.plan.devices) this.io.addDevice(device.index);
    this.assembly.apply(this.plan, this.plugins(), this.nowMs);
  }

  /** Sends a packet into the gateway by a port and returns what left. */
  send(port: string, spec: PacketSpec): Delivered[] {
    return this.sendBytes(port, buildPacket(spec));
  }

  sendBytes(port: string, packet: Uint8Array): Delivered[] {
    return this.sendAll(port, [packet]);
  }

  /** Sends packets in one burst. */
  sendAll(port: string, packets: readonly Uint8Array[]): Delivered[] {
    const device = this.portNamed(port).link.device;
    for (const packet of packets) this.io.inject(device, packet);
    return this.run();
  }

  /** Sends a whole frame, virtio-net header first, and returns the frames that left. */
  sendFrame(port: string, frame: Uint8Array): SentFrame[] {
    this.io.inject(this.portNamed(port).link.device, frame, 'frame');
    return this.runFrames();
  }

  /** Runs everything that waits through the pipeline. */
  run(): Delivered[] {
    return this.runFrames().map((sent) => {
      const port = this.plan.ports.find((candidate) => candidate.link.device === sent.device);
      return describe(port?.name ?? `device ${sent.device}`, sent.frame.slice(FRAME_PREFIX_BYTES));
    });
  }

  private runFrames(): SentFrame[] {
    const { io } = this;
    do {
      io.nowMs = this.nowMs;
      const received = io.burst(0);
      this.assembly.beginBurst();
      for (let i = 0; i < received; i++) {
        const at = i * DESCRIPTOR_WORDS;
        const { pipeline, tap } = this.assembly;
        const offset = io.rx.words[at + DESCRIPTOR_OFFSET];
        const lengthBytes = io.rx.words[at + DESCRIPTOR_LENGTH];
        const device = io.rx.words[at + DESCRIPTOR_DEVICE];
        if (tap.active !== 0) pipeline.receiveTapped(offset, lengthBytes, device, this.nowMs);
        else pipeline.receive(offset, lengthBytes, device, this.nowMs);
      }
    } while (io.waiting > 0);
    io.burst(0);
    // What the gateway asks neighbours on an Ethernet link is no packet.
    return io.takeSent().filter(({ device, frame }) => !this.isArp(device, frame));
  }

  private isArp(device: number, frame: Uint8Array): boolean {
    const kind = this.plan.devices.find(({ index }) => index === device)?.kind;
    return kind === 'ethernet' && frame[FRAME_PREFIX_BYTES - 2] === 8 && frame[FRAME_PREFIX_BYTES - 1] === 6;
  }

  /** Lets time pass, with housekeeping. */
  pass(ms: number): void {
    this.nowMs += ms;
    this.assembly.pipeline.tick(this.nowMs, Math.floor(this.nowMs / 1000));
    this.flowMemory.lastAliveMs = this.nowMs;
  }

  /** Drops counted so far at a port, by name. */
  drops(port: string): Record<string, number> {
    const { index } = this.portNamed(port);
    const result: Record<string, number> = {};
    DROP_REASON_NAMES.forEach((name, reason) => {
      const count = this.assembly.counters.drops(index, reason);
      if (count > 0) result[name] = count;
    });
    return result;
  }

  get flows(): number {
    return this.assembly.state.table.live;
  }

  private portNamed(name: string): PlanPort {
    const port = this.plan.ports.find((candidate) => candidate.name === name);
    if (port === undefined) throw new Error(`no port ${name}`);
    return port;
  }

  private plugins(): LoadedPlugin[] {
    return [...(this.options.policyPlugins ?? []), returnRouting()];
  }
}

function describe(port: string, packet: Uint8Array): Delivered {
  const memory = new FrameMemory(new ArrayBuffer((packet.length + 3) & ~3));
  memory.bytes.set(packet);
  const view = new PacketView(memory);
  const code = decode(view, 0, packet.length);
  if (code !== 0 && code !== 4)
    throw new Error(`a packet left by ${port} that does not decode: code ${code}`);
  if (view.fragment === 0 && !verifyTransportChecksum(view)) {
    throw new Error(`a packet left by ${port} with a wrong transport checksum`);
  }
  return {
    port,
    source: formatAddressWords(view.family, view.src0, view.src1, view.src2, view.src3),
    destination: formatAddressWords(view.family, view.dst0, view.dst1, view.dst2, view.dst3),
    sourcePort: view.sourcePort,
    destinationPort: view.destinationPort,
    view,
    packet,
    payload: packet.slice(view.payloadOffset, view.payloadOffset + view.payloadLength),
  };
}
