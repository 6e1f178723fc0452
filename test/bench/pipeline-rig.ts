/**
 * A gateway in memory with many established flows, and the packets of those flows.
 *
 * ```
 *   paris, lyon (10.0.0.0/8 both) ── pipeline: state, source translation, return routing ── internet
 * ```
 *
 * Flows belong to the two sites in turn, each with an external port of its own. Packets are made in packet memory
 * before each burst, where a device would put them, so that what is measured is the pipeline and nothing else.
 * Neighbours: `pipeline-measures.ts` (times), `allocation-child.ts` (the heap).
 */
import { createDataHalf } from '../../plugins/return-routing/return-routing.ts';
import { FlowMemory, flowMemoryBytes } from '../../src/flow/flow-memory.ts';
import { heldTupleWords } from '../../src/flow/held-tuples.ts';
import { CHUNKS_PER_ADDRESS, translationWords } from '../../src/flow/translation-layout.ts';
import { Assembly } from '../../src/pipeline/assembly.ts';
import type { Plan, PlanPort } from '../../src/pipeline/plan.ts';
import type { LoadedPlugin } from '../../src/pipeline/plugin-link.ts';
import { parseAddress } from '../../src/wire/address.ts';
import { FRAME_PREFIX_BYTES, FrameList, FrameMemory } from '../../src/wire/frame.ts';
import { PROTOCOL_TCP, PROTOCOL_UDP, TCP_ACK, TCP_SYN } from '../../src/wire/packet.ts';
import { NO_HOST } from '../support/plugins.ts';

export type RigProtocol = 'tcp' | 'udp';

export const BURST_FRAMES = 256;
/** Bytes of every packet. */
const PACKET_BYTES = 64;
/** As small frames of a TUN device lie in the receive area: packet, prefix, headroom; a multiple of 16. */
const STRIDE_BYTES = 208;
const SCRATCH_BYTES = 8 * 1024 * 1024;
const SITES = 2;
const INTERNET_PORT = 3;
const EXTERNAL_PORTS_PER_ADDRESS = 64512;
/** Flows of one source address. */
const FLOWS_PER_SOURCE = 128;
const SERVER_PORT = wirePort(443);
const SPREAD_PORTS = [443, 443, 80, 22, 25, 8080, 5432, 9100];
const CLIENT_SEQUENCE = 1000;
const SERVER_SEQUENCE = 5000;
const IPV4_WORD = 0x45;
const DONT_FRAGMENT = 0x40;
const TTL = 64;

export interface RigOptions {
  /** Plugins in front of return routing. */
  readonly policyPlugins?: readonly LoadedPlugin[];
  /** First packets come from anywhere in 10.0.0.0/8 and go anywhere, to some ports; flows cannot be answered then. */
  readonly isSpread?: boolean;
}

export class PipelineRig {
  readonly assembly: Assembly;
  readonly protocol: RigProtocol;
  readonly flows: number;
  nowMs = 1_000_000;
  private readonly memory: FrameMemory;
  private readonly tx: FrameList;
  /** External address and port of each flow, wire order; known once it has begun. */
  private readonly externalAddress: Int32Array;
  private readonly externalPort: Int32Array;
  private readonly isSpread: boolean;
  private readonly serverAddress = addressWord('203.0.113.10');

  /** A gateway with room for `flows` flows, and none begun. */
  constructor(
    flows: number,
    protocol: RigProtocol,
    { policyPlugins = [], isSpread = false }: RigOptions = {},
  ) {
    this.flows = flows;
    this.isSpread = isSpread;
    this.protocol = protocol;
    this.externalAddress = new Int32Array(flows);
    this.externalPort = new Int32Array(flows);
    this.memory = new FrameMemory(new ArrayBuffer(SCRATCH_BYTES + 64 + BURST_FRAMES * STRIDE_BYTES));
    this.tx = new FrameList(1024);
    const addresses = Math.ceil(flows / EXTERNAL_PORTS_PER_ADDRESS);
    const capacity = flows + (flows >> 2);
    const options = {
      capacity,
      translationBytes: translationWords(addresses * CHUNKS_PER_ADDRESS) * 4,
      heldTupleBytes: heldTupleWords(capacity) * 4,
      bootId: '00000000-0000-4000-8000-000000000000',
      hashSeed: [0x1234567, 0x89abcde] as const,
    };
    const flowMemory = FlowMemory.create(new ArrayBuffer(flowMemoryBytes(options)), options);
    let random = 0x2545f491;
    this.assembly = new Assembly({
      frames: { memory: this.memory, scratchOffset: 0, scratchBytes: SCRATCH_BYTES, tx: this.tx },
      flowMemory,
      plan: rigPlan(capacity, addresses),
      plugins: [
        ...policyPlugins,
        {
          name: 'return-routing',
          phase: 'routing',
          half: createDataHalf(NO_HOST),
        },
      ],
      onPluginFailure: (plugin, error) => {
        throw new Error(`plugin ${plugin.name} failed`, { cause: error });
      },
      random: () => {
        random = (Math.imul(random, 0x19660d) + 0x3c6ef35f) | 0;
        return random;
      },
      nowMs: this.nowMs,
    });
  }

  /** Writes the first packet of a flow to a place of the burst. */
  writeFirst(place: number, flow: number): void {
    if (this.isSpread) this.writeSpread(place, flow);
    else this.writeOriginator(place, flow, TCP_SYN, CLIENT_SEQUENCE, 0);
  }

  /** Writes a packet of an established flow: `direction` 0 from the site, 1 from the internet. */
  writeEstablished(place: number, flow: number, direction: number): void {
    if (direction === 0) this.writeOriginator(place, flow, TCP_ACK, CLIENT_SEQUENCE + 1, SERVER_SEQUENCE + 1);
    else this.writeReply(place, flow, TCP_ACK, SERVER_SEQUENCE + 1, CLIENT_SEQUENCE + 1);
  }

  /** Device of a place's packet: of the flow's site, or the internet's. */
  deviceOf(flow: number, direction: number): number {
    return direction === 0 ? siteOf(flow) : INTERNET_PORT;
  }

  /** Runs one packet that was written to a place through the pipeline. */
  receive(place: number, device: number): void {
    this.assembly.pipeline.receive(frameAt(place), FRAME_PREFIX_BYTES + PACKET_BYTES, device, this.nowMs);
  }

  /** Forgets what was sent, as a burst does once the devices have it. Returns how many frames those were. */
  takeSent(): number {
    const sent = this.tx.count;
    this.tx.count = 0;
    return sent;
  }

  /** Begins all flows and answers them: whole handshakes for TCP. Throws if a packet does not get through. */
  establish(): void {
    for (let flow = 0; flow < this.flows; flow++) {
      this.assembly.beginBurst();
      this.writeFirst(0, flow);
      this.pass(flow, 0);
      const at = (this.tx.offset(0) + FRAME_PREFIX_BYTES) >> 2;
      this.externalAddress[flow] = this.memory.words[at + 3];
      this.externalPort[flow] = this.memory.words[at + 5] & 0xffff;
      this.tx.count = 0;
      this.writeReply(0, flow, TCP_SYN | TCP_ACK, SERVER_SEQUENCE, CLIENT_SEQUENCE + 1);
      this.pass(flow, 1);
      this.tx.count = 0;
      this.writeEstablished(0, flow, 0);
      this.pass(flow, 0);
      this.tx.count = 0;
    }
  }

  private pass(flow: number, direction: number): void {
    this.receive(0, this.deviceOf(flow, direction));
    if (this.tx.count !== 1)
      throw new Error(`flow ${flow}: a packet of direction ${direction} was not passed`);
  }

  private writeOriginator(
    place: number,
    flow: number,
    flags: number,
    sequence: number,
    acknowledgment: number,
  ): void {
    const number = (flow / SITES) | 0;
    const source = (0x0a000000 + ((number / FLOWS_PER_SOURCE) | 0) + 1) | 0;
    const ports = wirePort(2000 + (number % FLOWS_PER_SOURCE)) | (SERVER_PORT << 16);
    this.write(place, swap(source), this.serverAddress, ports, flags, sequence, acknowledgment);
  }

  private writeSpread(place: number, flow: number): void {
    const random = Math.imul(flow + 1, 0x9e3779b1);
    const source = 0x0a000000 | ((random ^ (random >>> 9)) & 0xffffff);
    const destination = 0x10000000 | (Math.imul(random, 0x85ebca6b) >>> 6);
    const ports = wirePort(2000 + (flow % 60_000)) | (wirePort(SPREAD_PORTS[flow & 7]!) << 16);
    this.write(place, swap(source), swap(destination), ports, TCP_SYN, CLIENT_SEQUENCE, 0);
  }

  private writeReply(
    place: number,
    flow: number,
    flags: number,
    sequence: number,
    acknowledgment: number,
  ): void {
    const ports = SERVER_PORT | (this.externalPort[flow] << 16);
    const external = this.externalAddress[flow];
    this.write(place, this.serverAddress, external, ports, flags, sequence, acknowledgment);
  }

  /** Writes a whole packet. Transport checksums are left out: nobody on the measured way verifies them. */
  private write(
    place: number,
    source: number,
    destination: number,
    ports: number,
    flags: number,
    sequence: number,
    acknowledgment: number,
  ): void {
    const words = this.memory.words;
    const frame = frameAt(place) >> 2;
    words[frame] = 0;
    words[frame + 1] = 0;
    words[frame + 2] = 0;
    const at = frame + (FRAME_PREFIX_BYTES >> 2);
    const protocol = this.protocol === 'tcp' ? PROTOCOL_TCP : PROTOCOL_UDP;
    const word0 = IPV4_WORD | (PACKET_BYTES << 24);
    const word1 = DONT_FRAGMENT << 16;
    const word2 = TTL | (protocol << 8);
    words[at] = word0;
    words[at + 1] = word1;
    words[at + 2] = word2 | (headerChecksum(word0, word1, word2, source, destination) << 16);
    words[at + 3] = source;
    words[at + 4] = destination;
    words[at + 5] = ports;
    if (this.protocol === 'udp') {
      words[at + 6] = wirePort(PACKET_BYTES - 20) | 0x34120000;
      return;
    }
    words[at + 6] = swap(sequence);
    words[at + 7] = swap(acknowledgment);
    words[at + 8] = 0x50 | (flags << 8) | (0xff << 16) | (0xff << 24);
    words[at + 9] = 0x3412;
  }
}

export function rigPlan(maxFlows: number, addresses: number): Plan {
  const common = (index: number, name: string, space: number) => ({
    index,
    generation: 1,
    name,
    space,
    enabled: true,
    mtu: 1500,
    link: { kind: 'ip' as const, device: index },
  });
  const sites = ['paris', 'lyon'];
  const ports: PlanPort[] = [
    ...sites.map((name, at) => ({
      ...common(at + 1, name, at + 1),
      role: 'tunnel' as const,
      tunnelType: 'device' as const,
      priority: 100,
      automaticReturnRouting: true,
      addresses: [],
    })),
    {
      ...common(INTERNET_PORT, 'internet', INTERNET_PORT),
      role: 'egress',
      addresses: [],
      translation: { ipv4: 'source', ipv6: 'source' },
      pools: Array.from({ length: addresses }, (_, at) => ({
        address: `198.51.100.${at + 1}`,
        portMin: 1024,
        portMax: 65535,
        quotaPerSite: 0x7fffffff,
      })),
      portForwards: [],
    },
  ];
  return {
    generation: 1,
    gatewayName: 'bench',
    spaces: [
      ...sites.map((name, at) => ({
        id: at + 1,
        name,
        kind: 'site' as const,
        prefixes: ['10.0.0.0/8'],
      })),
      { id: INTERNET_PORT, name: 'internet', kind: 'egress' as const, prefixes: [] },
    ],
    devices: ports.map((port) => ({
      index: port.link.device,
      name: port.name,
      kind: 'ip' as const,
      mtu: 1500,
    })),
    ports,
    routes: [{ prefix: '0.0.0.0/0', via: INTERNET_PORT, priority: 100 }],
    gatewayAddresses: [],
    flowTable: {
      maxFlows,
      perTunnel: 0,
      createRatePerTunnel: 0,
      createRatePerSource: 0,
      otherProtocols: [],
    },
    plugins: [],
  };
}

function siteOf(flow: number): number {
  return (flow % SITES) + 1;
}

function frameAt(place: number): number {
  return SCRATCH_BYTES + 8 + place * STRIDE_BYTES;
}

function addressWord(text: string): number {
  return parseAddress(text)!.words[3];
}

function wirePort(port: number): number {
  return ((port & 0xff) << 8) | (port >>> 8);
}

function swap(word: number): number {
  return (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
}

function headerChecksum(word0: number, word1: number, word2: number, word3: number, word4: number): number {
  let sum = half(word0) + half(word1) + half(word2) + half(word3) + half(word4);
  sum = (sum & 0xffff) + (sum >>> 16);
  return ~((sum & 0xffff) + (sum >>> 16)) & 0xffff;
}

function half(word: number): number {
  return (word & 0xffff) + (word >>> 16);
}
