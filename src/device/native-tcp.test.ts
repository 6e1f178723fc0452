/**
 * Real TCP connections between two namespaces, carried by `NativeIo`: segments of tens of kilobytes pass whole
 * between TUN devices, and through GRE over a packet socket, where they are cut and joined again.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { inOwnNamespace } from '../../test/support/own-namespace.ts';
import { FRAME_SEGMENT_GRE } from '../wire/frame.ts';
import { freshName, ip, makeVeth } from './native-io.contract.ts';
import { NativeIo } from './native-io.ts';

const BYTES = 16 << 20;
const LIMIT_MS = 20_000;
/** Outer IPv4 header and GRE without options. */
const GRE_BYTES = 24;

const SERVER = `
  const hash = require('node:crypto').createHash('sha256');
  require('node:net').createServer((socket) => {
    socket.on('data', (data) => hash.update(data));
    socket.on('end', () => socket.end(hash.digest('hex')));
  }).listen(5001, () => console.log('listening'));`;
const CLIENT = `
  const bytes = Buffer.alloc(${BYTES});
  for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE(Math.imul(at, 2654435761) >>> 0, at);
  const expected = require('node:crypto').createHash('sha256').update(bytes).digest('hex');
  const socket = require('node:net').connect(5001, '10.77.2.1', () => socket.end(bytes));
  let answer = '';
  socket.on('data', (data) => { answer += data; });
  socket.on('close', () => { console.log(answer === expected ? 'whole' : 'damaged'); process.exit(); });`;

/** A namespace with one TUN device of `io` in it. */
function makeHost(io: NativeIo, device: number, address: string, mtu: number): string {
  const namespace = `hw-${process.pid}-${Math.floor(Math.random() * 1e9)}`;
  const name = freshName('hwt');
  ip('netns', 'add', namespace);
  io.addTun(device, name, { mtu });
  ip('link', 'set', name, 'netns', namespace);
  ip('-n', namespace, 'link', 'set', name, 'up');
  ip('-n', namespace, 'address', 'add', address, 'dev', name);
  ip('-n', namespace, 'route', 'add', 'default', 'dev', name);
  return namespace;
}

function start(namespace: string, script: string): ChildProcess & { output: () => string } {
  const child = spawn('ip', ['netns', 'exec', namespace, process.execPath, '-e', script]);
  let text = '';
  child.stdout.on('data', (data) => {
    text += data;
  });
  child.stderr.on('data', (data) => {
    text += data;
  });
  return Object.assign(child, { output: () => text });
}

/** Transfers BYTES over the I/O; `forward` moves the frames of one burst. Returns what the client says. */
async function transfer(io: NativeIo, mtu: number, forward: (io: NativeIo) => void): Promise<string> {
  const hosts: string[] = [];
  const children: ChildProcess[] = [];
  try {
    hosts.push(makeHost(io, 0, '10.77.1.1/32', mtu));
    hosts.push(makeHost(io, 1, '10.77.2.1/32', mtu));
    const server = start(hosts[1]!, SERVER);
    children.push(server);
    await once(server.stdout!, 'data');
    const client = start(hosts[0]!, CLIENT);
    children.push(client);
    const end = Date.now() + LIMIT_MS;
    while (client.exitCode === null && Date.now() < end) {
      for (let round = 0; round < 64; round++) {
        io.burst(1);
        forward(io);
      }
      // For the children's output and exits.
      await turn();
    }
    io.burst(0);
    return client.output().trim();
  } finally {
    for (const child of children) child.kill('SIGKILL');
    io.close();
    for (const host of hosts) ip('netns', 'del', host);
  }
}

/** Adds to csum_start, and to hdr_len where it is set. */
function shiftOffloads(view: DataView, frame: number, by: number): void {
  if ((view.getUint8(frame) & 1) !== 0) view.setUint16(frame + 6, view.getUint16(frame + 6, true) + by, true);
  if (view.getUint8(frame + 1) !== 0) view.setUint16(frame + 2, view.getUint16(frame + 2, true) + by, true);
}

/** Puts Ethernet, IPv4 and GRE headers in front of the packet, in place. Returns the new frame's offset. */
function encapsulate(io: NativeIo, view: DataView, offset: number, lengthBytes: number): number {
  const frame = offset - GRE_BYTES;
  io.memory.bytes.copyWithin(frame, offset, offset + 10);
  shiftOffloads(view, frame, 14 + GRE_BYTES);
  io.memory.bytes.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0], frame + 10);
  const outer = frame + 24;
  const length = lengthBytes - 24 + GRE_BYTES;
  io.memory.bytes.set([0x45, 0, length >> 8, length & 255, 0, 0, 0x40, 0, 64, 47, 0, 0], outer);
  io.memory.bytes.set([192, 0, 2, 1, 192, 0, 2, 2, 0, 0, 8, 0], outer + 12);
  let sum = 0;
  for (let at = outer; at < outer + 20; at += 2) sum += view.getUint16(at);
  sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(outer + 10, ~((sum & 0xffff) + (sum >>> 16)));
  return frame;
}

if (inOwnNamespace(import.meta.url)) {
  describe('real TCP', () => {
    it('passes from TUN to TUN in whole super-packets', { timeout: 30_000 }, async () => {
      const io = new NativeIo();
      let longest = 0;
      const answer = await transfer(io, 1500, () => {
        for (let index = 0; index < io.rx.count; index++) {
          longest = Math.max(longest, io.rx.lengthBytes(index));
          io.tx.push(io.rx.offset(index), io.rx.lengthBytes(index), 1 - io.rx.device(index), 0);
        }
      });
      assert.equal(answer, 'whole');
      assert.ok(longest > 40_000, `${longest} bytes at most`);
      assert.deepEqual([io.txErrors[0], io.txErrors[1]], [0, 0]);
    });

    for (const coalesceGre of [true, false]) {
      it(`passes through GRE, ${coalesceGre ? 'joined' : 'not joined'} on the way in`, {
        timeout: 30_000,
      }, async () => {
        // 0 and 1: the hosts' TUN devices; 2 and 3: the ends of the veth pair between the two gateways.
        const io = new NativeIo();
        const { near, far } = makeVeth();
        io.addPacket(2, near, { kind: 'ethernet', coalesceGre });
        io.addPacket(3, far, { kind: 'ethernet', coalesceGre });
        const view = new DataView(io.memory.buffer);
        let longest = 0;
        const answer = await transfer(io, 1476, () => {
          for (let index = 0; index < io.rx.count; index++) {
            const device = io.rx.device(index);
            const offset = io.rx.offset(index);
            const lengthBytes = io.rx.lengthBytes(index);
            if (device < 2) {
              const isSuper = io.memory.bytes[offset + 1] !== 0;
              const frame = encapsulate(io, view, offset, lengthBytes);
              io.tx.push(frame, lengthBytes + GRE_BYTES, device + 2, isSuper ? FRAME_SEGMENT_GRE : 0);
              continue;
            }
            longest = Math.max(longest, lengthBytes);
            io.memory.bytes.copyWithin(offset + GRE_BYTES, offset, offset + 10);
            shiftOffloads(view, offset + GRE_BYTES, -14 - GRE_BYTES);
            io.tx.push(offset + GRE_BYTES, lengthBytes - GRE_BYTES, device - 2, 0);
          }
        });
        assert.equal(answer, 'whole');
        if (coalesceGre) assert.ok(longest > 20_000, `${longest} bytes at most`);
        else assert.ok(longest <= 24 + 1500, `${longest} bytes at most`);
      });
    }
  });
}
