/**
 * Captures of TCP connections that are hard to reassemble: made here, kept in `test/fixtures/stream-captures`, and read from
 * there, so that other programs may be shown the same.
 *
 *     node test/support/stream-captures.ts        writes those that are made by hand
 *
 * `lossy-path.pcap` is none of these: tcpdump at the receiver of what Linux sent through a router that dropped every
 * sixth segment and every fourth acknowledgment (24,000 bytes: `line N of what is sent`, N from 0).
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LINKTYPE_ETHERNET, LINKTYPE_RAW } from '../../src/device/capture.ts';
import { PcapWriter, readPcap } from '../../src/device/pcap.ts';
import { buildPacket } from '../../src/wire/build.ts';
import { TCP_ACK, TCP_FIN, TCP_SYN } from '../../src/wire/packet.ts';
import { tcp } from './packets.ts';

const FOLDER = join(import.meta.dirname, '../fixtures/stream-captures');
const ETHERNET_HEADER_BYTES = 14;
const CLIENT = '10.0.1.7 40000';
const SERVER = '198.51.100.80 443';

/** A segment: where its data begin, and a letter for each of its bytes. */
export type Piece = readonly [offset: number, data: string];

export interface MadeCapture {
  readonly name: string;
  /** The client's SYN. */
  readonly first: number;
  readonly pieces: readonly Piece[];
}

/**
 * What an IDS and a receiver may read in different ways: the first copy, the last, the one that begins first, the longer one.
 * Every byte comes at least once; letters tell the segments apart.
 */
export const MADE_CAPTURES: readonly MadeCapture[] = [
  {
    name: 'overlaps',
    first: 1_000_000,
    pieces: [
      [4, 'aaaaaaaa'],
      [0, 'bbbb'],
      [20, 'cccccccc'],
      [16, 'dddddddd'],
      [24, 'eeeeeeee'],
      [12, 'ffffffffffffffffffffffff'],
      [36, 'gggg'],
      [32, 'hhhhhhhhhhhh'],
      [8, 'iiiiiiii'],
      [44, 'jjjj'],
    ],
  },
  {
    name: 'wrapped',
    first: 0xffff_fff0,
    pieces: [
      [10, 'aaaaaaaaaaaa'],
      [14, 'bbbb'],
      [18, 'cccccccc'],
      [0, 'dddddddddddddddd'],
      [8, 'eeeeeeeeeeeeeeeeeeeeeeee'],
    ],
  },
  {
    name: 'gaps',
    first: 77,
    pieces: [
      [30, 'aaaaaaaaaa'],
      [10, 'bbbbbbbbbb'],
      [50, 'cccccccccc'],
      [0, 'dddddddddd'],
      [40, 'eeeeeeeeee'],
      [20, 'ffffffffff'],
    ],
  },
];

/** The bytes of such a capture, by which copy of a byte counts. */
export function textOf({ pieces }: MadeCapture, counts: 'first' | 'last'): string {
  const text: string[] = [];
  for (const [offset, data] of pieces) {
    [...data].forEach((letter, i) => {
      if (counts === 'last' || text[offset + i] === undefined) text[offset + i] = letter;
    });
  }
  return text.join('');
}

/** The capture's file. */
export function makeCapture(capture: MadeCapture): Uint8Array {
  const parts: Uint8Array[] = [];
  const writer = new PcapWriter((bytes) => parts.push(bytes), { linkType: LINKTYPE_RAW });
  let timestampNs = 0n;
  const write = (packet: Uint8Array): void => {
    writer.write({ timestampNs, data: packet });
    timestampNs += 1_000_000n;
  };
  const client = (flags: number, offset: number, data: string): Uint8Array =>
    buildPacket(
      tcp(CLIENT, SERVER, flags, {
        sequence: (capture.first + 1 + offset) | 0,
        acknowledgment: (flags & TCP_ACK) === 0 ? 0 : 5001,
        window: 65535,
        payload: new TextEncoder().encode(data),
      }),
    );
  const server = (flags: number, acknowledges: number): Uint8Array =>
    buildPacket(
      tcp(SERVER, CLIENT, flags, {
        sequence: (flags & TCP_SYN) === 0 ? 5001 : 5000,
        acknowledgment: (capture.first + 1 + acknowledges) | 0,
        window: 65535,
      }),
    );
  const { length } = textOf(capture, 'first');
  write(client(TCP_SYN, -1, ''));
  write(server(TCP_SYN | TCP_ACK, 0));
  write(client(TCP_ACK, 0, ''));
  for (const [offset, data] of capture.pieces) write(client(TCP_ACK, offset, data));
  write(server(TCP_ACK, length));
  write(client(TCP_ACK | TCP_FIN, length, ''));
  return Buffer.concat(parts);
}

export function capturePath(name: string): string {
  return join(FOLDER, `${name}.pcap`);
}

/** The IP packets of a capture. */
export function packetsOf(name: string): Uint8Array[] {
  const { packets, error } = readPcap(readFileSync(capturePath(name)));
  if (error !== undefined) throw error;
  return packets.map(({ linkType, data }) => {
    const packet = linkType === LINKTYPE_ETHERNET ? data.subarray(ETHERNET_HEADER_BYTES) : data;
    // What Ethernet adds to short frames is not the packet's.
    return packet.slice(0, (packet[2]! << 8) | packet[3]!);
  });
}

if (import.meta.main)
  for (const made of MADE_CAPTURES) writeFileSync(capturePath(made.name), makeCapture(made));
