/**
 * A program for tests that works in network namespaces: one end of UDP conversations.
 *
 *   node udp-end.ts echo ADDRESS PORT...              sends everything back; prints `ready`
 *   node udp-end.ts spread SOURCE TARGET FROM TO      one datagram from each of FROM ports to each of TO ports, then ends
 *   node udp-end.ts ping SOURCE TARGET PORT RATE      numbered datagrams, RATE a second, until `stop` is read; then prints
 *                                                     {"sent":n,"received":n,"rttMs":{"median":x,"p99":x,"max":x}}
 */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { setTimeout } from 'node:timers/promises';

const FIRST_PORT = 20_000;
/** Datagrams on the way before the sender pauses: far fewer than any queue holds. */
const SPREAD_BURST = 20;
/** For the last answers. */
const PATIENCE_MS = 1000;

async function bound(address: string, port: number): Promise<Socket> {
  const socket = createSocket({ type: address.includes(':') ? 'udp6' : 'udp4', reuseAddr: false });
  socket.bind(port, address);
  await once(socket, 'listening');
  return socket;
}

async function echo(address: string, ports: readonly number[]): Promise<void> {
  for (const port of ports) {
    const socket = await bound(address, port);
    socket.on('message', (data, from) => socket.send(data, from.port, from.address));
  }
  process.stdout.write('ready\n');
}

async function spread(source: string, target: string, from: number, to: number): Promise<void> {
  let sent = 0;
  for (let at = 0; at < from; at++) {
    const socket = await bound(source, FIRST_PORT + at);
    for (let port = 0; port < to; port++) {
      socket.send('flow', FIRST_PORT + port, target);
      if (++sent % SPREAD_BURST === 0) await setTimeout(2);
    }
    await setTimeout(1);
    socket.close();
  }
}

async function ping(source: string, target: string, port: number, rate: number): Promise<void> {
  const socket = await bound(source, 0);
  const sentAt: number[] = [];
  const rtts: number[] = [];
  const answered = new Set<number>();
  socket.on('message', (data) => {
    const number = data.readUInt32BE(0);
    if (answered.has(number)) return;
    answered.add(number);
    rtts.push(performance.now() - sentAt[number]!);
  });
  let stopped = false;
  process.stdin.once('data', () => {
    stopped = true;
  });
  process.stdout.write('ready\n');
  const began = performance.now();
  while (!stopped) {
    while (sentAt.length < ((performance.now() - began) * rate) / 1000) {
      const data = Buffer.alloc(64);
      data.writeUInt32BE(sentAt.length, 0);
      sentAt.push(performance.now());
      socket.send(data, port, target);
    }
    await setTimeout(1);
  }
  await setTimeout(PATIENCE_MS);
  rtts.sort((one, other) => one - other);
  const rank = (share: number): number =>
    Number((rtts[Math.floor(share * (rtts.length - 1))] ?? 0).toFixed(2));
  const rttMs = { median: rank(0.5), p99: rank(0.99), max: rank(1) };
  process.stdout.write(`${JSON.stringify({ sent: sentAt.length, received: answered.size, rttMs })}\n`);
  process.exit(0);
}

const [what, address, ...rest] = process.argv.slice(2) as [string, string, ...string[]];
if (what === 'echo') await echo(address, rest.map(Number));
else if (what === 'spread') await spread(address, rest[0]!, Number(rest[1]), Number(rest[2]));
else if (what === 'ping') await ping(address, rest[0]!, Number(rest[1]), Number(rest[2]));
