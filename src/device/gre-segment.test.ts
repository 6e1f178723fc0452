/** Segmentation of GRE, against frames built by hand and against tshark. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import { assertRight, buildGreFrame, parseGreFrame, superVirtio } from '../../test/support/gre-frames.ts';
import { inOwnNamespace } from '../../test/support/own-namespace.ts';
import { FRAME_SEGMENT_GRE } from '../wire/frame.ts';
import { LINKTYPE_ETHERNET } from './capture.ts';
import {
  ACK,
  CWR,
  completed,
  ECE,
  expectedSegments,
  FIN,
  PSH,
  pattern,
  superFrame,
  Wire,
  type WireFrame,
  wireFrame,
} from './gre.contract.ts';
import { PcapWriter } from './pcap.ts';

if (inOwnNamespace(import.meta.url)) {
  const wire = new Wire();
  after(() => wire.close());

  describe('GRE segmentation', () => {
    it('cuts TCP and UDP, in all versions, as built by hand', () => {
      const payload = pattern(5000);
      for (const outer of [4, 6] as const) {
        for (const inner of [4, 6] as const) {
          for (const protocol of ['tcp', 'udp'] as const) {
            for (const extra of [
              {},
              { key: 7 },
              { key: 7, sequence: 0xfffffffe, checksum: true },
              { checksum: true },
              { sequence: 9 },
            ]) {
              const shape = {
                outer,
                inner,
                protocol,
                payload,
                tcpSequence: 0xfffff000,
                innerIdentification: 0xfffe,
                flags: ACK | PSH | FIN | CWR,
                ...extra,
              };
              const { plain } = wire.pass([superFrame(shape, 1400)], FRAME_SEGMENT_GRE);
              const name = JSON.stringify({ outer, inner, protocol, ...extra });
              assert.equal(plain.length, 4, name);
              const packets = completed(plain);
              for (const packet of packets) assertRight(packet);
              assert.deepEqual(packets, expectedSegments(shape, 1400), name);
            }
          }
        }
      }
      assert.equal(wire.sender.txErrors[0], 0);
    });

    it('cuts the longest packet into more segments than a batch holds', () => {
      const shape = { outer: 4, inner: 4, protocol: 'tcp', payload: pattern(65000) } as const;
      const { plain } = wire.pass([superFrame(shape, 500)], FRAME_SEGMENT_GRE);
      assert.deepEqual(completed(plain), expectedSegments(shape, 500));
    });

    it('keeps every byte, whatever is cut, and says of each packet what is true of it', () => {
      const shapes = fc.record({
        outer: fc.constantFrom(4 as const, 6 as const),
        inner: fc.constantFrom(4 as const, 6 as const),
        protocol: fc.constantFrom('tcp' as const, 'tcp' as const, 'udp' as const),
        key: fc.constantFrom(undefined, 7),
        sequence: fc.constantFrom(undefined, 0xffff_fff0),
        checksum: fc.boolean(),
        optionBytes: fc.constantFrom(undefined, 8 as const, 24 as const),
        options: fc.constantFrom(new Uint8Array(0), Uint8Array.of(1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 8)),
        tcpSequence: fc.constantFrom(1000, 0xffff_ff00),
        flags: fc
          .subarray([ACK, PSH, FIN, CWR, ECE])
          .map((flags) => flags.reduce((all, flag) => all | flag, 0)),
        trafficClass: fc.nat(255),
        dontFragment: fc.boolean(),
        innerIdentification: fc.constantFrom(0, 0xfffe),
      });
      const sizes = fc.record({
        gsoSize: fc.integer({ min: 1, max: 1501 }),
        whole: fc.integer({ min: 2, max: 40 }),
        rest: fc.nat(1500),
      });
      fc.assert(
        fc.property(shapes, sizes, ({ key, sequence, optionBytes, ...shape }, { gsoSize, whole, rest }) => {
          const filled = {
            ...shape,
            ...(key === undefined ? {} : { key }),
            ...(sequence === undefined ? {} : { sequence }),
            ...(optionBytes === undefined ? {} : { optionBytes }),
            payload: pattern(gsoSize * (whole - 1) + 1 + (rest % gsoSize), gsoSize),
          };
          const packets = completed(wire.pass([superFrame(filled, gsoSize)], FRAME_SEGMENT_GRE).plain);
          assert.deepEqual(packets, expectedSegments(filled, gsoSize));
          const carried = packets.map((packet) => packet.subarray(assertRight(packet).payload));
          assert.ok(Buffer.concat(carried).equals(filled.payload));
        }),
        { seed: 20261122, numRuns: 150 },
      );
      assert.equal(wire.sender.txErrors[0], 0);
    });

    it('leaves the transport checksum to the device, unless the GRE checksum covers it', () => {
      const shape = { outer: 4, inner: 4, protocol: 'tcp', payload: pattern(2000) } as const;
      const partial = wire.pass([superFrame(shape, 1000)], FRAME_SEGMENT_GRE).plain;
      for (const { virtio } of partial) {
        assert.deepEqual([virtio[0], virtio[1]], [1, 0]);
        assert.deepEqual([...virtio.subarray(6)], [14 + 20 + 4 + 20, 0, 16, 0]);
      }
      const full = wire.pass([superFrame({ ...shape, checksum: true }, 1000)], FRAME_SEGMENT_GRE).plain;
      for (const { virtio, bytes } of full) {
        assert.equal(virtio[0]! & 1, 0);
        assertRight(bytes);
      }
    });

    it('sends a packet without GSO fields as one', () => {
      const shape = { outer: 4, inner: 4, protocol: 'udp', payload: pattern(300), checksum: true } as const;
      const bytes = buildGreFrame(shape, true);
      const virtio = superVirtio(bytes, 0);
      virtio[1] = 0;
      const { plain } = wire.pass([{ bytes, virtio }], FRAME_SEGMENT_GRE);
      assert.deepEqual(
        plain.map((frame) => frame.bytes),
        [buildGreFrame(shape)],
      );
    });

    it('keeps the order among frames that are cut and frames that are not', () => {
      const shape = { outer: 4, inner: 4, protocol: 'tcp', payload: pattern(3000) } as const;
      const io = wire.sender;
      const cut = superFrame(shape, 1000);
      const whole = wireFrame({ ...shape, payload: pattern(10), sourcePort: 9 });
      io.memory.bytes.set(cut.virtio, 0);
      io.memory.bytes.set(cut.bytes, 10);
      io.memory.bytes.set(whole.virtio, 8192);
      io.memory.bytes.set(whole.bytes, 8202);
      for (let round = 0; round < 20; round++) {
        io.tx.push(0, 10 + cut.bytes.length, 0, FRAME_SEGMENT_GRE);
        io.tx.push(8192, 10 + whole.bytes.length, 0, 0);
      }
      const { plain } = wire.pass([]);
      const ports = plain.map(
        ({ bytes }) =>
          bytes[parseGreFrame(bytes).transport]! * 256 + bytes[parseGreFrame(bytes).transport + 1]!,
      );
      assert.deepEqual(ports, Array.from({ length: 20 }, () => [5000, 5000, 5000, 9]).flat());
    });

    it('refuses what is not GRE with offload fields, and counts it', () => {
      const shape = { outer: 4, inner: 4, protocol: 'tcp', payload: pattern(3000) } as const;
      const good = superFrame(shape, 1000);
      const change = (edit: (frame: WireFrame) => void): WireFrame => {
        const copy = { bytes: good.bytes.slice(), virtio: good.virtio.slice() };
        edit(copy);
        return copy;
      };
      const wrong = [
        change(({ bytes }) => bytes.fill(17, 23, 24)),
        change(({ bytes }) => bytes.fill(0x55, 14, 15)),
        change(({ bytes }) => bytes.fill(0x40, 14, 15)),
        change(({ bytes }) => bytes.fill(1, 35, 36)),
        change(({ virtio }) => virtio.fill(0, 0, 1)),
        change(({ virtio }) => virtio.fill(255, 6, 8)),
        change(({ virtio }) => virtio.fill(20, 6, 7)),
        change(({ virtio }) => virtio.fill(99, 8, 9)),
        change(({ bytes }) => bytes.fill(0x10, 58 + 12, 58 + 13)),
        { bytes: good.bytes.slice(0, 60), virtio: good.virtio },
      ];
      const before = wire.sender.txErrors[0]!;
      const { plain } = wire.pass([...wrong, good], FRAME_SEGMENT_GRE);
      // Options that are not there (0x55) are read as such, and the packet is then no GRE.
      assert.equal(wire.sender.txErrors[0]! - before, wrong.length);
      assert.equal(plain.length, 3);
    });

    it('satisfies tshark', { timeout: 60_000 }, (context) => {
      if (spawnSync('tshark', ['--version']).error !== undefined) {
        context.skip('needs tshark');
        return;
      }
      const folder = mkdtempSync(join(tmpdir(), 'homeward-gre-'));
      try {
        const chunks: Uint8Array[] = [];
        const writer = new PcapWriter((bytes) => chunks.push(bytes), { linkType: LINKTYPE_ETHERNET });
        let count = 0;
        for (const protocol of ['tcp', 'udp'] as const) {
          for (const inner of [4, 6] as const) {
            const shape = {
              outer: 4,
              inner,
              protocol,
              payload: pattern(4000),
              key: 5,
              checksum: true,
            } as const;
            for (const data of completed(wire.pass([superFrame(shape, 1300)], FRAME_SEGMENT_GRE).plain)) {
              writer.write({ timestampNs: 0n, data });
              count++;
            }
          }
        }
        const path = join(folder, 'gre.pcap');
        writeFileSync(path, Buffer.concat(chunks));
        const checks = ['ip', 'tcp', 'udp'].flatMap((name) => ['-o', `${name}.check_checksum:TRUE`]);
        const wrong = 'ip.checksum.status != 1 or tcp.checksum.status != 1 or udp.checksum.status != 1';
        const list = (filter: string) =>
          spawnSync('tshark', ['-r', path, ...checks, '-Y', filter], { encoding: 'utf8' })
            .stdout.split('\n')
            .filter((line) => line !== '');
        assert.deepEqual(list(`${wrong} or gre.checksum.status != 1 or _ws.malformed`), []);
        assert.equal(list('gre.key == 5 and gre.checksum.status == 1').length, count);
        assert.equal(count, 16);
      } finally {
        rmSync(folder, { recursive: true });
      }
    });
  });
}
