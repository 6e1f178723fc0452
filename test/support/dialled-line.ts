/**
 * A program for tests: a dialled line, and what is at its other end. Three TUN devices, of which it is the far
 * end; one stays in its own network namespace, the others are moved to the namespaces named.
 *
 * ```
 *  here     site's namespace      internet's namespace
 *  ppp0          site0                  isp0
 *    |             |                      |
 *    +---- GRE ----+                      |
 *    +---- all other packets -------------+
 * ```
 *
 *   node dialled-line.ts '{"local":"198.51.100.10","remote":"192.0.2.1","site":"NAMESPACE","internet":"NAMESPACE"}'
 *
 * Prints `ready` when the devices are there. They disappear with it, as a line does when the other side hangs up.
 */
import { execFileSync } from 'node:child_process';
import { NativeIo } from '../../src/device/native-io.ts';
import { LinkLayer } from '../../src/pipeline/link/link-layer.ts';
import { Scratch } from '../../src/pipeline/link/scratch.ts';
import type { PlanDevice } from '../../src/pipeline/plan.ts';
import { decode } from '../../src/wire/decode.ts';
import { PacketView } from '../../src/wire/packet.ts';
import { readVirtioNetHeader } from '../../src/wire/virtio-net.ts';
import { devicePort, grePort, plan } from './link-bench.ts';

export interface DialledLineOptions {
  /** Outer addresses of the tunnel, as its far end sees them. */
  readonly local: string;
  readonly remote: string;
  /** Namespaces. */
  readonly site: string;
  readonly internet: string;
}

const LINE_MTU = 1492;
const TUNNEL_MTU = LINE_MTU - 24;
const NAMES = ['ppp0', 'site0', 'isp0'] as const;
const GRE_PORT = 0;
const LINE_PORT = 1;
const SITE_PORT = 2;
const INTERNET_PORT = 3;
/** Where a packet goes, by the port that it came in by. */
const OTHER = [SITE_PORT, INTERNET_PORT, GRE_PORT, LINE_PORT] as const;

const { local, remote, site, internet } = JSON.parse(process.argv[2]!) as DialledLineOptions;
const io = new NativeIo();
NAMES.forEach((name, index) => {
  io.addTun(index, name, { mtu: name === 'site0' ? TUNNEL_MTU : LINE_MTU });
});
execFileSync('ip', ['link', 'set', 'site0', 'netns', site]);
execFileSync('ip', ['link', 'set', 'isp0', 'netns', internet]);

const scratch = new Scratch(io.memory, io.scratchOffset, io.scratchBytes);
const link = new LinkLayer(io.memory, io.tx, scratch, () => {});
const devices = NAMES.map((name, index): PlanDevice => ({ index, name, kind: 'tun', mtu: LINE_MTU }));
const ports = [
  grePort({ index: GRE_PORT, device: 0, mtu: TUNNEL_MTU }, { local, remote, nextHop: remote }),
  devicePort({ index: LINE_PORT, device: 0 }),
  devicePort({ index: SITE_PORT, device: 1 }),
  devicePort({ index: INTERNET_PORT, device: 2 }),
];
link.configure(plan(devices, ports), io.nowMs);
const view = new PacketView(io.memory);
process.stdout.write('ready\n');
for (;;) {
  io.burst(100);
  scratch.reset();
  for (let index = 0; index < io.rx.count; index++) {
    const { rx, nowMs } = io;
    const port = link.receive(rx.offset(index), rx.lengthBytes(index), rx.device(index), nowMs);
    if (port < 0 || decode(view, link.packetOffset, link.packetLength) !== 0) continue;
    if (readVirtioNetHeader(view, link.frameOffset, link.checksumBase) !== 0) continue;
    link.send(OTHER[port]!, view, nowMs);
  }
}
