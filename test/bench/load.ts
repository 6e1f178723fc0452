/** What is sent over a path, and what is measured of it. */
import { readFileSync } from 'node:fs';
import { linesOf, type NetworkNamespace } from '../support/network-namespace.ts';
import type { Path } from './lab.ts';
import { SERVER_ADDRESS } from './lab-plans.ts';
import { median } from './statistics.ts';

const UDP_PORT = 9000;
/** The receiver lets this long pass before it counts; the sender goes on for as long behind it. */
const SETTLE_SECONDS = 0.2;
const PING_INTERVAL_SECONDS = 0.002;
const TICKS_PER_SECOND = 100;
/** A path that does not carry anything fails after that. */
const PATIENCE_SECONDS = 10;

export interface TcpResult {
  readonly gbitPerSecond: number;
  /** Of CPU time of the whole machine, whoever used it. */
  readonly gbitPerCpuSecond: number;
}

/** Starts what stays: the iperf3 server. It ends with its namespace. */
export async function serve(path: Path): Promise<void> {
  const server = path.server.spawn('iperf3', ['--server', '--forceflush', '--bind', SERVER_ADDRESS]);
  const lines = linesOf(server);
  for (;;) {
    const { value, done } = await lines.next();
    if (done) throw new Error('iperf3 --server has ended');
    if (value.includes('listening')) return;
  }
}

/** One TCP flow from client to server, as fast as it goes. */
export async function measureTcp(path: Path, seconds: number): Promise<TcpResult> {
  const before = busySeconds();
  const output = await run(path.client, 'iperf3', [
    '--client',
    SERVER_ADDRESS,
    '--time',
    String(seconds),
    '--connect-timeout',
    String(PATIENCE_SECONDS * 1000),
    '--json',
  ]);
  const spent = busySeconds() - before;
  const { bytes, bits_per_second } = JSON.parse(output).end.sum_received;
  return { gbitPerSecond: bits_per_second / 1e9, gbitPerCpuSecond: (bytes * 8) / 1e9 / spent };
}

/** 64-byte packets from client to server, counted there; packets per second. */
export async function measurePackets(path: Path, seconds: number, udpLoad: string): Promise<number> {
  const receiver = path.server.spawn(udpLoad, ['count', String(UDP_PORT), String(seconds)]);
  const lines = linesOf(receiver);
  const ready = await lines.next();
  if (ready.value !== 'ready') throw new Error('udp-load count did not start');
  const total = seconds + 2 * SETTLE_SECONDS;
  await run(path.client, udpLoad, ['send', SERVER_ADDRESS, String(UDP_PORT), String(total)]);
  const { value } = await lines.next();
  if (value === undefined) throw new Error('udp-load count: no packet came');
  const [packets, measuredSeconds] = (value as string).split(' ').map(Number);
  return packets / measuredSeconds;
}

/** New flows from a port of the client that has begun none before; what arrived, and how many a second. */
export async function measureNewFlows(
  path: Path,
  port: number,
  flows: number,
  udpLoad: string,
): Promise<{ readonly arrived: number; readonly perSecond: number }> {
  const receiver = path.server.spawn(udpLoad, ['arrive']);
  const lines = linesOf(receiver);
  const ready = await lines.next();
  if (ready.value !== 'ready') throw new Error('udp-load arrive did not start');
  await run(path.client, udpLoad, ['begin', SERVER_ADDRESS, String(port), String(flows)]);
  const { value } = await lines.next();
  if (value === undefined) throw new Error('udp-load arrive: no packet came');
  const [arrived, seconds] = (value as string).split(' ').map(Number);
  return { arrived, perSecond: arrived / seconds };
}

/** Median round trip, microseconds. */
export async function measurePing(path: Path, count: number): Promise<number> {
  const output = await run(path.client, 'ping', [
    '-n',
    '-c',
    String(count),
    '-i',
    String(PING_INTERVAL_SECONDS),
    '-w',
    String(PATIENCE_SECONDS),
    SERVER_ADDRESS,
  ]);
  const times = [...output.matchAll(/time=([\d.]+) ms/g)].map((match) => Number(match[1]) * 1000);
  if (times.length < count / 2) throw new Error(`only ${times.length} of ${count} pings were answered`);
  return median(times);
}

async function run(namespace: NetworkNamespace, command: string, args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await namespace.attempt(command, args);
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: status ${status}\n${stdout}${stderr}`);
  return stdout;
}

/** CPU time that the machine has spent so far, over all CPUs: user, nice, system, irq, softirq. */
function busySeconds(): number {
  const [user, nice, system, , , irq, softirq] = readFileSync('/proc/stat', 'latin1')
    .split('\n', 1)[0]
    .split(/\s+/)
    .slice(1)
    .map(Number);
  return (user + nice + system + irq + softirq) / TICKS_PER_SECOND;
}
