/**
 * The leak check: every frame that was delivered to a host must be explained by that host's own traffic.
 *
 * ```
 *  delivered                       explained by
 *  ARP, neighbour discovery        asking about one of the host's own addresses, or telling its gateway's
 *  UDP, ICMP query, fragment       the token in its data, which must be one for this host
 *  TCP SYN                         a server of this host
 *  TCP, other                      a connection that this host opened or accepted: what is acknowledged was sent,
 *                                  and the token in the data is for this host
 *  TCP reset                       nothing, unless the test says that resets are to come
 *  ICMP error                      the packet it quotes: sent by this host, with its token or sequence number
 *  anything else                   nothing
 * ```
 *
 * The five-tuple explains nothing: in the lab, all sites use the same ones. What a host has sent is known from
 * the other half of its capture. At a GRE site the frames of its outer device are opened and judged in the
 * same way, so a packet for another site is seen even if the site's gateway would drop it.
 */
import {
  ICMP_ERROR,
  ICMP_QUERY,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  TCP_ACK,
  TCP_FIN,
  TCP_RST,
  TCP_SYN,
} from '../../../src/wire/packet.ts';
import { describeSeen, type SeenFrame, type SeenIp, type SeenNeighbor } from './captured-packets.ts';
import type { Tokens } from './tokens.ts';

/** A host as the check sees it. */
export interface CheckedHost {
  readonly name: string;
  readonly addresses: readonly string[];
  /** Who may speak ARP and neighbour discovery to it: addresses of its gateway. */
  readonly neighbors: readonly string[];
  /** `tcp ADDRESS PORT` of its servers. */
  readonly servers: ReadonlySet<string>;
  /** Never delivered from these: private sources on the internet. */
  readonly isForbiddenSource?: (address: string) => boolean;
}

export interface LeakCheckOptions {
  /** TCP resets may come (a connection was refused or given up). Default false. */
  readonly resetsExpected?: boolean;
}

export interface Leak {
  readonly host: string;
  readonly why: string;
  readonly packet: string;
  readonly timestampNs: bigint;
}

/** What was delivered, leaks included. */
export interface Delivered {
  frames: number;
  neighbor: number;
  tcp: number;
  udp: number;
  icmp: number;
  fragments: number;
  icmpErrors: number;
  resets: number;
}

export interface LeakReport {
  readonly leaks: readonly Leak[];
  readonly delivered: Delivered;
}

/** One life of a TCP connection's own half: what was sent lies between the two. */
interface SentRange {
  readonly first: number;
  end: number;
}

export class LeakCheck {
  readonly #host: CheckedHost;
  readonly #tokens: Tokens;
  readonly #options: LeakCheckOptions;
  readonly #sent = new Map<string, SentRange[]>();
  readonly #delivered: Delivered = {
    frames: 0,
    neighbor: 0,
    tcp: 0,
    udp: 0,
    icmp: 0,
    fragments: 0,
    icmpErrors: 0,
    resets: 0,
  };
  readonly #leaks: Leak[] = [];

  constructor(host: CheckedHost, tokens: Tokens, options: LeakCheckOptions = {}) {
    this.#host = host;
    this.#tokens = tokens;
    this.#options = options;
  }

  /** Takes note of what the host itself has sent: all of it, before anything delivered is judged. */
  noteSent(frames: readonly SeenFrame[]): void {
    for (const frame of frames) {
      if (frame.what !== 'ip' || frame.protocol !== PROTOCOL_TCP || frame.fragment === 2) continue;
      const key = tupleKey(frame.source, frame.sourcePort, frame.destination, frame.destinationPort);
      const ranges = this.#sent.get(key) ?? [];
      this.#sent.set(key, ranges);
      const length = frame.payload.length + (frame.tcpFlags & TCP_FIN ? 1 : 0);
      if (frame.tcpFlags & TCP_SYN) {
        if (!ranges.some(({ first }) => first === frame.sequence)) {
          ranges.push({ first: frame.sequence, end: (frame.sequence + 1) | 0 });
        }
        continue;
      }
      const range = ranges.at(-1);
      const end = (frame.sequence + length) | 0;
      if (range !== undefined && ((end - range.end) | 0) > 0) range.end = end;
    }
  }

  /** Judges what was delivered to the host. */
  judge(frames: readonly SeenFrame[]): void {
    for (const frame of frames) {
      const why = this.#judge(frame);
      if (why === undefined) continue;
      this.#leaks.push({
        host: this.#host.name,
        why,
        packet: describeSeen(frame),
        timestampNs: frame.timestampNs,
      });
    }
  }

  report(): LeakReport {
    return { leaks: this.#leaks, delivered: this.#delivered };
  }

  /** Undefined: explained. */
  #judge(frame: SeenFrame): string | undefined {
    this.#delivered.frames++;
    switch (frame.what) {
      case 'neighbor':
        this.#delivered.neighbor++;
        return this.#judgeNeighbor(frame);
      case 'ip':
        return this.#judgeIp(frame);
      case 'other':
        return frame.why;
    }
  }

  #judgeNeighbor({ sender, target }: SeenNeighbor): string | undefined {
    const { addresses, neighbors } = this.#host;
    const known = isLinkLocal(sender) || neighbors.includes(sender);
    const about = addresses.includes(target) || neighbors.includes(target) || isLinkLocal(target);
    return known && about ? undefined : 'neighbour discovery or ARP of somebody else';
  }

  #judgeIp(packet: SeenIp): string | undefined {
    const { addresses, isForbiddenSource } = this.#host;
    if (!addresses.includes(packet.destination)) return `for ${packet.destination}, which is not this host`;
    if (isForbiddenSource?.(packet.source)) return `from ${packet.source}, which must not be seen here`;
    if (packet.fragment !== 0) this.#delivered.fragments++;
    if (packet.fragment === 2) return this.#judgeToken(this.#tokens.ofStream(packet.payload), packet);
    switch (packet.protocol) {
      case PROTOCOL_TCP:
        return this.#judgeTcp(packet);
      case PROTOCOL_UDP:
        this.#delivered.udp++;
        return this.#judgeToken(this.#tokens.ofMessage(packet.payload), packet);
      case PROTOCOL_ICMP:
      case PROTOCOL_ICMPV6:
        if (packet.icmpKind === ICMP_ERROR) return this.#judgeError(packet);
        this.#delivered.icmp++;
        if (packet.icmpKind !== ICMP_QUERY) return 'an ICMP message that nobody forwards';
        return this.#judgeToken(this.#tokens.ofMessage(packet.payload), packet);
      default:
        return `protocol ${packet.protocol}, which nobody here speaks`;
    }
  }

  #judgeToken(token: string | undefined, packet: SeenIp): string | undefined {
    if (token === undefined) return 'data without a token, or with more than one';
    if (this.#tokens.isFor(token, this.#host.name)) return undefined;
    return `the token of ${this.#tokens.ownersOf(token)} (identifier or port ${packet.destinationPort})`;
  }

  #judgeTcp(packet: SeenIp): string | undefined {
    this.#delivered.tcp++;
    const { tcpFlags, payload } = packet;
    if (tcpFlags & TCP_RST) {
      this.#delivered.resets++;
      if (!this.#options.resetsExpected) return 'a TCP reset';
    }
    if ((tcpFlags & (TCP_SYN | TCP_ACK)) === TCP_SYN) {
      const server = `tcp ${packet.destination} ${packet.destinationPort}`;
      return this.#host.servers.has(server) ? undefined : 'a connection to a port that no server has';
    }
    if (tcpFlags & TCP_ACK && !this.#acknowledgesOwn(packet)) {
      return `acknowledges ${packet.acknowledgment >>> 0}, which this host has not sent`;
    }
    return payload === '' ? undefined : this.#judgeToken(this.#tokens.ofStream(payload), packet);
  }

  #acknowledgesOwn(packet: SeenIp): boolean {
    const { tcpFlags, acknowledgment } = packet;
    const key = tupleKey(packet.destination, packet.destinationPort, packet.source, packet.sourcePort);
    return (this.#sent.get(key) ?? []).some(({ first, end }) => {
      if (tcpFlags & TCP_SYN) return acknowledgment === ((first + 1) | 0);
      return ((acknowledgment - first) | 0) > 0 && ((end - acknowledgment) | 0) >= 0;
    });
  }

  #judgeError(packet: SeenIp): string | undefined {
    this.#delivered.icmpErrors++;
    const { quoted } = packet;
    if (quoted === undefined) return 'an ICMP error that quotes nothing';
    if (!this.#host.addresses.includes(quoted.source))
      return `an ICMP error about a packet of ${quoted.source}`;
    if (quoted.protocol === PROTOCOL_TCP) {
      const key = tupleKey(quoted.source, quoted.sourcePort, quoted.destination, quoted.destinationPort);
      const sent = (this.#sent.get(key) ?? []).some(
        ({ first, end }) => ((quoted.sequence - first) | 0) >= 0 && ((end - quoted.sequence) | 0) >= 0,
      );
      return sent ? undefined : 'an ICMP error about a segment that this host has not sent';
    }
    const token =
      quoted.fragment === 2 ? this.#tokens.ofStream(quoted.payload) : this.#tokens.ofMessage(quoted.payload);
    return this.#judgeToken(token, quoted);
  }
}

function tupleKey(source: string, sourcePort: number, destination: string, destinationPort: number): string {
  return `${source} ${sourcePort} ${destination} ${destinationPort}`;
}

function isLinkLocal(address: string): boolean {
  return address.startsWith('fe80:') || address === '::';
}
