/**
 * A gateway in memory with a plugin that reads streams, and one TCP connection through it whose every segment a test
 * decides on. Offsets are bytes of a direction, from 0; sequence numbers begin where the test says.
 */

import type { LoadedPlugin } from '../../src/pipeline/plugin-link.ts';
import {
  type FlowSetup,
  STREAM_PASS,
  STREAM_WHOLE,
  type StreamHandle,
  VERDICT_CONTINUE,
} from '../../src/plugin/contract.ts';
import { buildPacket, buildTcpOptions, type PacketSpec } from '../../src/wire/build.ts';
import { TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from '../../src/wire/packet.ts';
import { type Delivered, MemoryGateway, type MemoryGatewayOptions } from './memory-gateway.ts';
import { tcp } from './packets.ts';

export type StreamHook = (
  flow: StreamHandle,
  bytes: Uint8Array,
  offset: number,
  length: number,
  follows: number,
) => number;

/** What a plugin was shown at once. */
export interface Shown {
  readonly direction: number;
  readonly position: number;
  readonly bytes: Uint8Array;
  readonly follows: number;
  readonly answer: number;
}

/** A plugin that keeps what it is shown and answers what it is told to, by default that all may pass. */
export class ReadingPlugin {
  readonly shown: Shown[] = [];
  answer: (shown: Omit<Shown, 'answer'>) => number = () => STREAM_PASS;
  originator = STREAM_WHOLE;
  reply = STREAM_WHOLE;

  loaded(name = 'reader', rest: Partial<LoadedPlugin> = {}): LoadedPlugin {
    return {
      name,
      phase: 'policy',
      half: {
        flowSetup: (_packet: unknown, flow: FlowSetup) => {
          flow.streamOriginator = this.originator;
          flow.streamReply = this.reply;
          return VERDICT_CONTINUE;
        },
        stream: (flow, bytes, offset, length, follows) => {
          const { direction, position } = flow;
          const shown = { direction, position, bytes: bytes.slice(offset, offset + length), follows };
          const answer = this.answer(shown);
          this.shown.push({ ...shown, answer });
          return answer;
        },
      },
      ...rest,
    };
  }

  /** The bytes of a direction that were passed, one after the other. */
  passed(direction: number): Uint8Array {
    const parts = this.shown.filter((shown) => shown.direction === direction && shown.answer === STREAM_PASS);
    return Uint8Array.from(parts.flatMap(({ bytes }) => [...bytes]));
  }
}

/** The gateway: site paris, and behind the internet egress a server. */
export function streamGateway(
  policyPlugins: readonly LoadedPlugin[],
  options: Partial<MemoryGatewayOptions> = {},
): MemoryGateway {
  return new MemoryGateway({
    sites: [{ name: 'paris', prefixes: ['10.0.1.0/24'] }],
    egress: [{ name: 'internet', pools: [{ address: '192.0.2.1' }] }],
    policyPlugins,
    scratchBytes: 16 * 1024 * 1024,
    ...options,
  });
}

export interface SegmentFields {
  readonly payload?: Uint8Array;
  readonly fin?: boolean;
  readonly flags?: number;
  /** Unscaled, in units of 128 bytes. */
  readonly window?: number;
  /** Offset that is acknowledged; by default all that the peer has sent. */
  readonly acknowledges?: number;
}

/** Both offer windows in units of 128 bytes, and selective acknowledgments. */
const SCALE = buildTcpOptions({ windowScale: 7, sackPermitted: true });
const CLIENT = '10.0.1.7';
const SERVER = '198.51.100.80';

/** One TCP connection from paris to a server. */
export class StreamConnection {
  readonly gateway: MemoryGateway;
  readonly first: readonly [number, number];
  /** What the gateway has answered in the receiver's name. */
  readonly answers: Delivered[] = [];
  /** Of the connection as the server sees it. */
  private source = '';
  private readonly clientPort: number;
  private readonly header: Partial<PacketSpec>;
  private sourcePort = 0;
  private readonly sent = [0, 0];

  /** `first`: the SYNs' sequence numbers; `header`: what its packets have besides. */
  constructor(
    gateway: MemoryGateway,
    first: readonly [number, number] = [1000, 9000],
    clientPort = 40_000,
    header: Partial<PacketSpec> = {},
  ) {
    this.gateway = gateway;
    this.first = first;
    this.clientPort = clientPort;
    this.header = header;
  }

  /** SYN, SYN-ACK, ACK, and the server's window. `synData` is sent with the SYN. Returns the SYN as the server got it. */
  open(synData: Uint8Array = new Uint8Array()): Delivered | undefined {
    const syn = this.gateway.send(
      'paris',
      tcp(this.client, this.server, TCP_SYN, {
        sequence: this.first[0],
        window: 65535,
        options: SCALE,
        payload: synData,
      }),
    );
    const [arrived] = syn;
    if (arrived === undefined) return undefined;
    this.source = arrived.source;
    this.sourcePort = arrived.sourcePort;
    this.gateway.send(
      'internet',
      tcp(this.server, this.translated, TCP_SYN | TCP_ACK, {
        sequence: this.first[1],
        acknowledgment: this.first[0] + 1,
        window: 65535,
        options: SCALE,
      }),
    );
    this.send(0, 0, {});
    this.send(1, 0, {});
    return arrived;
  }

  get client(): string {
    return `${CLIENT} ${this.clientPort}`;
  }

  get server(): string {
    return `${SERVER} 443`;
  }

  private get translated(): string {
    return `${this.source} ${this.sourcePort}`;
  }

  /** The packet of a segment whose data begin at `offset` of a direction. */
  packet(direction: number, offset: number, fields: SegmentFields): Uint8Array {
    const payload = fields.payload ?? new Uint8Array();
    const end = offset + payload.length + (fields.fin === true ? 1 : 0);
    this.sent[direction] = Math.max(this.sent[direction], end);
    const acknowledges = fields.acknowledges ?? this.sent[direction ^ 1];
    const flags = fields.flags ?? TCP_ACK | (fields.fin === true ? TCP_FIN : 0);
    const [from, to] = direction === 0 ? [this.client, this.server] : [this.server, this.translated];
    return buildPacket(
      tcp(
        from,
        to,
        flags,
        {
          sequence: (this.first[direction] + 1 + offset) | 0,
          acknowledgment: (this.first[direction ^ 1] + 1 + acknowledges) | 0,
          window: fields.window ?? 65535,
          payload,
        },
        this.header,
      ),
    );
  }

  /** Sends such a segment; returns what left the gateway, but for acknowledgments to the sender: {@link answers}. */
  send(direction: number, offset: number, fields: SegmentFields): Delivered[] {
    const port = direction === 0 ? 'paris' : 'internet';
    const left = this.gateway.sendBytes(port, this.packet(direction, offset, fields));
    const isAnswer = (one: Delivered): boolean => one.port === port && one.view.tcpFlags === TCP_ACK;
    this.answers.push(...left.filter(isAnswer));
    return left.filter((one) => !isAnswer(one));
  }

  /** A reset of a direction whose number is that of `offset`. */
  reset(direction: number, offset: number): Delivered[] {
    return this.send(direction, offset, { flags: TCP_RST | TCP_ACK });
  }

  /** Where the data of a delivered segment begin. */
  offsetOf(direction: number, delivered: Delivered): number {
    return (delivered.view.sequence - this.first[direction] - 1) | 0;
  }
}

/** The bytes `from` to `to` of a stream in which every byte tells its place. */
export function pattern(from: number, to: number, salt = 0): Uint8Array {
  return Uint8Array.from({ length: to - from }, (_, i) => {
    const place = from + i;
    return (place ^ (place >>> 8) ^ (place >>> 16) ^ salt) & 0xff;
  });
}
