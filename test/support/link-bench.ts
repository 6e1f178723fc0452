/**
 * The link layer in memory, for tests: plans in few words, Ethernet frames in, frames out, drops by name.
 */
import assert from 'node:assert/strict';
import { LinkLayer, type LinkLayerOptions } from '../../src/pipeline/link/link-layer.ts';
import { Scratch } from '../../src/pipeline/link/scratch.ts';
import type { Plan, PlanDevice, PlanEthernetLink, PlanGreLink, PlanPort } from '../../src/pipeline/plan.ts';
import { DROP_REASON_NAMES } from '../../src/plugin/drop-reasons.ts';
import { parseAddress, writeAddress } from '../../src/wire/address.ts';
import { decode } from '../../src/wire/decode.ts';
import { parseMac } from '../../src/wire/ethernet.ts';
import { FRAME_HEADROOM_BYTES, FRAME_PREFIX_BYTES, FrameList, FrameMemory } from '../../src/wire/frame.ts';
import { PacketView } from '../../src/wire/packet.ts';
import { readVirtioNetHeader } from '../../src/wire/virtio-net.ts';
import { plainChecksum } from './plain-packets.ts';

export const OWN_MAC = '02:00:00:00:00:01';
export const PEER_MAC = '02:00:00:00:00:02';
export const OTHER_MAC = '02:00:00:00:00:03';
export const BROADCAST_MAC = 'ff:ff:ff:ff:ff:ff';

const RECEIVE_BYTES = 160 * 1024;
const SCRATCH_BYTES = 2 * 1024 * 1024;

export interface SentFrame {
  readonly device: number;
  readonly flags: number;
  /** The virtio-net header, 10 bytes. */
  readonly virtio: Uint8Array;
  /** Everything behind it: Ethernet header (or the gap) and packet. */
  readonly frame: Uint8Array;
  /** The packet alone. */
  readonly packet: Uint8Array;
}

export class LinkBench {
  readonly memory = new FrameMemory(new ArrayBuffer(RECEIVE_BYTES + SCRATCH_BYTES));
  readonly tx: FrameList;
  readonly scratch: Scratch;
  readonly link: LinkLayer;
  readonly view: PacketView;
  /** What was dropped since {@link takeDrops}: `port:reason`. */
  drops: string[] = [];
  nowMs: number;
  private next = 0;

  constructor(plan: Plan, options: LinkLayerOptions & { txCapacity?: number; nowMs?: number } = {}) {
    this.nowMs = options.nowMs ?? 1_000_000;
    this.tx = new FrameList(options.txCapacity ?? 256);
    this.scratch = new Scratch(this.memory, RECEIVE_BYTES, SCRATCH_BYTES);
    this.view = new PacketView(this.memory);
    const settings = { waitingFrames: 64, neighbors: 256, seed: 7, ...options };
    this.link = new LinkLayer(
      this.memory,
      this.tx,
      this.scratch,
      (port, reason) => this.drops.push(`${port}:${DROP_REASON_NAMES[reason]}`),
      settings,
    );
    this.link.configure(plan, this.nowMs);
  }

  /** Gives a whole frame (Ethernet header first, or the 14-byte gap) to the link layer. Returns its answer. */
  receive(device: number, frame: Uint8Array, virtio = new Uint8Array(10)): number {
    const at = this.place(frame.length + 10);
    this.memory.bytes.set(virtio, at);
    this.memory.bytes.set(frame, at + 10);
    return this.link.receive(at, frame.length + 10, device, this.nowMs);
  }

  /** Gives an IP packet from a neighbour to our MAC. */
  receivePacket(device: number, packet: Uint8Array, from = PEER_MAC, virtio = new Uint8Array(10)): number {
    return this.receive(device, ethernet(OWN_MAC, from, packet), virtio);
  }

  /** The packet that `receive` handed out. */
  delivered(): Uint8Array {
    const { packetOffset, packetLength } = this.link;
    return this.memory.bytes.slice(packetOffset, packetOffset + packetLength);
  }

  /** Decodes what `receive` handed out as the pipeline does. */
  decodeDelivered(): PacketView {
    const { packetOffset, packetLength, frameOffset, checksumBase } = this.link;
    assert.equal(decode(this.view, packetOffset, packetLength), 0, 'the delivered packet decodes');
    assert.equal(readVirtioNetHeader(this.view, frameOffset, checksumBase), 0, 'its virtio-net header fits');
    return this.view;
  }

  /** Sends a packet by a port, with `shape` applied to its view before. Returns the name of the drop reason, or `none`. */
  send(port: number, packet: Uint8Array, shape: (view: PacketView) => void = () => {}): string {
    const offset = this.place(FRAME_PREFIX_BYTES + packet.length) + FRAME_PREFIX_BYTES;
    this.memory.bytes.set(packet, offset);
    assert.equal(decode(this.view, offset, packet.length), 0, 'the packet to send decodes');
    shape(this.view);
    return DROP_REASON_NAMES[this.link.send(port, this.view, this.nowMs)] as string;
  }

  /** What is in the output list; ends the burst. */
  takeSent(): SentFrame[] {
    const frames: SentFrame[] = [];
    for (let index = 0; index < this.tx.count; index++) {
      const offset = this.tx.offset(index);
      const bytes = this.memory.bytes.slice(offset, offset + this.tx.lengthBytes(index));
      frames.push({
        device: this.tx.device(index),
        flags: this.tx.flags(index),
        virtio: bytes.slice(0, 10),
        frame: bytes.slice(10),
        packet: bytes.slice(FRAME_PREFIX_BYTES),
      });
    }
    this.tx.count = 0;
    this.next = 0;
    this.scratch.reset();
    return frames;
  }

  /** Room for a frame, as an I/O gives it: 8 mod 16, with headroom, not used again in this burst. */
  private place(bytes: number): number {
    const at = ((this.next + FRAME_HEADROOM_BYTES + 7) & ~15) + 8;
    if (at + bytes > RECEIVE_BYTES) {
      this.next = 0;
      return this.place(bytes);
    }
    this.next = at + bytes;
    return at;
  }

  takeDrops(): string[] {
    const drops = this.drops;
    this.drops = [];
    return drops;
  }

  /** Lets time pass in steps of a quarter of a second, and returns what was sent meanwhile. */
  wait(ms: number): SentFrame[] {
    const sent: SentFrame[] = [];
    const end = this.nowMs + ms;
    while (this.nowMs < end) {
      this.nowMs = Math.min(end, this.nowMs + 250);
      this.link.tick(this.nowMs | 0);
      sent.push(...this.takeSent());
    }
    return sent;
  }
}

export function plan(devices: readonly PlanDevice[], ports: readonly PlanPort[], generation = 1): Plan {
  return {
    generation,
    gatewayName: 'test',
    spaces: [],
    devices,
    ports,
    routes: [],
    gatewayAddresses: [],
    flowTable: {
      maxFlows: 0,
      perTunnel: 0,
      createRatePerTunnel: 0,
      createRatePerSource: 0,
      otherProtocols: [],
    },
    plugins: [],
  };
}

export function ethernetDevice(index: number, mac = OWN_MAC): PlanDevice {
  return { index, name: `eth${index}`, kind: 'ethernet', mtu: 1500, mac };
}

type PortSettings = { index: number; generation?: number; enabled?: boolean; mtu?: number };

function tunnelPort(
  settings: PortSettings,
  tunnelType: 'gre' | 'interconnect' | 'device',
  link: PlanPort['link'],
  mtu: number,
): PlanPort {
  return {
    index: settings.index,
    generation: settings.generation ?? 1,
    name: `port${settings.index}`,
    space: settings.index + 1,
    enabled: settings.enabled ?? true,
    mtu: settings.mtu ?? mtu,
    link,
    addresses: [],
    role: 'tunnel',
    tunnelType,
    priority: 100,
    automaticReturnRouting: true,
  };
}

/** An interconnect whose site is on link, unless `link` says otherwise: we are 10.0.1.1/24 and fd00::1/64. */
export function ethernetPort(
  settings: PortSettings & { device: number },
  link: Partial<PlanEthernetLink> = {},
): PlanPort {
  return tunnelPort(
    settings,
    'interconnect',
    {
      kind: 'ethernet',
      device: settings.device,
      nextHop: {},
      onLink: ['10.0.1.0/24', 'fd00::/64'],
      answers: ['10.0.1.1', 'fd00::1'],
      sourceAddresses: ['10.0.1.1', 'fd00::1'],
      ...link,
    },
    1500,
  );
}

/** A GRE tunnel over IPv4 without options, unless `link` says otherwise, by way of 192.0.2.254. */
export function grePort(
  settings: PortSettings & { device: number },
  link: Partial<PlanGreLink> = {},
): PlanPort {
  return tunnelPort(
    settings,
    'gre',
    {
      kind: 'gre',
      local: '192.0.2.1',
      remote: '198.51.100.10',
      key: null,
      checksum: false,
      sequence: false,
      ttl: 64,
      device: settings.device,
      nextHop: '192.0.2.254',
      sourceAddresses: ['192.0.2.1'],
      ...link,
    },
    1476,
  );
}

export function devicePort(settings: PortSettings & { device: number }): PlanPort {
  return tunnelPort(settings, 'device', { kind: 'ip', device: settings.device }, 1420);
}

/** An Ethernet frame around an IP packet (type by its version) or other bytes (`type`). */
export function ethernet(to: string, from: string, payload: Uint8Array, type?: number): Uint8Array {
  const frame = new Uint8Array(14 + payload.length);
  frame.set(macBytes(to), 0);
  frame.set(macBytes(from), 6);
  const etherType = type ?? ((payload[0] as number) >>> 4 === 4 ? 0x0800 : 0x86dd);
  frame[12] = etherType >>> 8;
  frame[13] = etherType & 0xff;
  frame.set(payload, 14);
  return frame;
}

export function macBytes(text: string): Uint8Array {
  const mac = parseMac(text);
  assert.ok(mac, `${text} is a MAC address`);
  return mac;
}

export function addressBytes(text: string): Uint8Array {
  const address = parseAddress(text);
  assert.ok(address, `${text} is an address`);
  const bytes = new Uint8Array(16);
  return bytes.slice(0, writeAddress(bytes, 0, address));
}

/** An ARP packet, by hand. */
export function arp(
  operation: 'request' | 'reply',
  senderMac: string,
  sender: string,
  targetMac: string,
  target: string,
): Uint8Array {
  const bytes = new Uint8Array(28);
  bytes.set([0, 1, 8, 0, 6, 4, 0, operation === 'request' ? 1 : 2]);
  bytes.set(macBytes(senderMac), 8);
  bytes.set(addressBytes(sender), 14);
  bytes.set(macBytes(targetMac), 18);
  bytes.set(addressBytes(target), 24);
  return bytes;
}

/** An ARP reply to us as a frame. */
export function arpReply(mac: string, address: string, to = '10.0.1.1'): Uint8Array {
  return ethernet(OWN_MAC, mac, arp('reply', mac, address, OWN_MAC, to), 0x0806);
}

export interface GreSpec {
  readonly key?: number;
  readonly checksum?: boolean;
  readonly sequence?: number;
  readonly protocolType?: number;
}

/** A GRE header with its payload behind, by hand. */
export function gre(spec: GreSpec, payload: Uint8Array): Uint8Array {
  const words: number[] = [];
  if (spec.checksum === true) words.push(0);
  if (spec.key !== undefined) words.push(spec.key);
  if (spec.sequence !== undefined) words.push(spec.sequence);
  const packet = new Uint8Array(4 + words.length * 4 + payload.length);
  const view = new DataView(packet.buffer);
  const flags =
    (spec.checksum === true ? 0x8000 : 0) |
    (spec.key === undefined ? 0 : 0x2000) |
    (spec.sequence === undefined ? 0 : 0x1000);
  view.setUint16(0, flags);
  view.setUint16(2, spec.protocolType ?? ((payload[0] as number) >>> 4 === 4 ? 0x0800 : 0x86dd));
  words.forEach((word, index) => {
    view.setUint32(4 + index * 4, word >>> 0);
  });
  packet.set(payload, 4 + words.length * 4);
  if (spec.checksum === true) view.setUint16(4, plainChecksum(packet));
  return packet;
}
