/**
 * Sends flow events to a collector: templates, names and data records over UDP or TCP (RFC 7011, 8 and 10).
 *
 * ```
 *  UDP   templates and names first, and again every template interval and when names have changed
 *  TCP   the same once for every connection; a connection that breaks is made anew after some seconds, events
 *        wait for it as long as there is room
 * ```
 *
 * What cannot be sent is counted; nothing waits for the collector.
 */
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { createConnection, type Socket as TcpSocket } from 'node:net';
import type { IpfixConfig } from '../../config/config.ts';
import type { FlowEvent } from '../flow-event.ts';
import type { FlowLogNames } from '../names.ts';
import { type Message, MessageWriter } from './message.ts';
import { type DataRecord, eventRecord, nameRecord } from './records.ts';
import { PORT_NAMES, SPACE_NAMES, TEMPLATES } from './templates.ts';

const RECONNECT_MS = 5000;
const CLOSE_TIMEOUT_MS = 1000;
/** Messages that the kernel has not taken yet. */
const MAX_UNSENT_MESSAGES = 1024;
const MAX_UNSENT_BYTES = 4 * 1024 * 1024;
/** Records that wait for a connection. */
const MAX_WAITING_RECORDS = 16384;
/** What the IPv4 and UDP headers leave of the longest packet. */
const MAX_DATAGRAM_BYTES = 65507;

export interface IpfixStatistics {
  readonly messages: number;
  readonly records: number;
  readonly lost: number;
  /** Why nothing gets through now, or an empty string. */
  readonly problem: string;
}

export class IpfixExporter {
  readonly #config: IpfixConfig;
  readonly #names: FlowLogNames;
  readonly #writer: MessageWriter;
  #udp: UdpSocket | undefined;
  #tcp: TcpSocket | undefined;
  #isConnected = false;
  #reconnect: NodeJS.Timeout | undefined;
  #waiting: DataRecord[] = [];
  #unsent = 0;
  #toldNames = -1;
  #toldAtMs = 0;
  #messages = 0;
  #records = 0;
  #lost = 0;
  #problem = '';
  #closed = false;

  constructor(config: IpfixConfig, names: FlowLogNames) {
    this.#config = config;
    this.#names = names;
    const { transport, maxMessageBytes, observationDomain } = config;
    const limit = transport === 'udp' ? Math.min(maxMessageBytes, MAX_DATAGRAM_BYTES) : maxMessageBytes;
    this.#writer = new MessageWriter(observationDomain, limit);
    if (transport === 'udp') this.#openUdp();
    else this.#openTcp();
  }

  get statistics(): IpfixStatistics {
    return {
      messages: this.#messages,
      records: this.#records,
      lost: this.#lost,
      problem: this.#problem,
    };
  }

  /** Sends events; to be called now and then without any, for the templates. */
  send(events: readonly FlowEvent[]): void {
    if (this.#closed) return;
    for (const event of events) this.#waiting.push(eventRecord(event, this.#names));
    if (!this.#isConnected) {
      const over = this.#waiting.length - MAX_WAITING_RECORDS;
      if (over > 0) this.#lost += this.#waiting.splice(0, over).length;
      return;
    }
    const nowMs = Date.now();
    this.#announce(nowMs);
    for (const record of this.#waiting) this.#writer.addRecord(record, nowMs);
    this.#waiting = [];
    for (const message of this.#writer.take(nowMs)) this.#transmit(message);
  }

  /** Sends what is under way and ends. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#reconnect);
    const udp = this.#udp;
    if (udp !== undefined) {
      const deadline = performance.now() + CLOSE_TIMEOUT_MS;
      while (this.#unsent > 0 && performance.now() < deadline) {
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      await new Promise<void>((resolve) => udp.close(() => resolve()));
    }
    const tcp = this.#tcp;
    if (tcp !== undefined && !tcp.destroyed) {
      await new Promise<void>((resolve) => {
        tcp.setTimeout(CLOSE_TIMEOUT_MS, () => tcp.destroy());
        tcp.once('close', () => resolve());
        if (this.#isConnected) tcp.end();
        else tcp.destroy();
      });
    }
  }

  /** Templates and names, where the collector may not have them. */
  #announce(nowMs: number): void {
    const { transport, templateIntervalMs } = this.#config;
    const isFirst = this.#toldNames < 0;
    const isDue = transport === 'udp' && nowMs - this.#toldAtMs >= templateIntervalMs;
    const { generation } = this.#names;
    if (isFirst || isDue) this.#writer.addTemplates(TEMPLATES, nowMs);
    else if (generation === this.#toldNames) return;
    if (isFirst || isDue) this.#toldAtMs = nowMs;
    this.#toldNames = generation;
    for (const [port, name] of this.#names.ports()) {
      this.#writer.addRecord(nameRecord(PORT_NAMES, port, name), nowMs);
    }
    for (const [space, name] of this.#names.spaces()) {
      this.#writer.addRecord(nameRecord(SPACE_NAMES, space, name), nowMs);
    }
    // A message of their own: a collector that loses it loses no events with it.
    for (const message of this.#writer.take(nowMs)) this.#transmit(message);
  }

  #transmit(message: Message): void {
    const { bytes, records } = message;
    if (this.#udp !== undefined) {
      if (this.#unsent >= MAX_UNSENT_MESSAGES) {
        this.#lost += records;
        return;
      }
      this.#unsent++;
      this.#udp.send(bytes, (error) => {
        this.#unsent--;
        if (error === null) this.#sent(records);
        else this.#failed(records, error);
      });
    } else if (this.#tcp !== undefined) {
      if (this.#tcp.writableLength > MAX_UNSENT_BYTES) {
        this.#lost += records;
        return;
      }
      this.#tcp.write(bytes, (error) => {
        if (error == null) this.#sent(records);
        else this.#failed(records, error);
      });
    }
  }

  #sent(records: number): void {
    this.#messages++;
    this.#records += records;
    this.#problem = '';
  }

  #failed(records: number, error: Error): void {
    this.#lost += records;
    this.#say(error);
  }

  #say(error: Error): void {
    const { address, port } = this.#config.collector;
    this.#problem = `the IPFIX collector at ${address} port ${port} cannot be reached: ${error.message}`;
  }

  #openUdp(): void {
    const { address, port } = this.#config.collector;
    const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    this.#udp = socket;
    // Also what ICMP says about datagrams sent before.
    socket.on('error', (error) => {
      this.#say(error);
      if (!this.#isConnected && !this.#closed) {
        this.#reconnect = setTimeout(() => socket.connect(port, address), RECONNECT_MS);
      }
    });
    socket.on('connect', () => {
      this.#isConnected = true;
    });
    socket.connect(port, address);
  }

  #openTcp(): void {
    const { address, port } = this.#config.collector;
    const socket = createConnection({ host: address, port, noDelay: true });
    this.#tcp = socket;
    socket.on('connect', () => {
      this.#isConnected = true;
      this.#problem = '';
      this.#toldNames = -1;
      this.#writer.restart();
    });
    socket.on('error', (error) => this.#say(error));
    // A collector says nothing; what it sends is not kept.
    socket.resume();
    socket.on('close', () => {
      this.#isConnected = false;
      if (this.#closed) return;
      if (this.#problem === '') this.#say(new Error('it has closed the connection'));
      this.#reconnect = setTimeout(() => this.#openTcp(), RECONNECT_MS);
    });
  }
}
