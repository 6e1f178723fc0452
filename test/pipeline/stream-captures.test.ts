/** Captured connections replayed: what plugins read of them, and what a receiver gets. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { TCP_FIN, TCP_SYN } from '../../src/wire/packet.ts';
import type { Delivered } from '../support/memory-gateway.ts';
import { problemsOf } from '../support/plain-packets.ts';
import { PlainReceiver } from '../support/plain-receiver.ts';
import { capturePath, MADE_CAPTURES, makeCapture, packetsOf, textOf } from '../support/stream-captures.ts';
import { ReadingPlugin, streamGateway } from '../support/stream-gateway.ts';

/** The client's packets come from paris, the server's from the internet, and nothing is translated. */
function replay(name: string, keepsFirst: boolean): { read: string; received: string; shown: number } {
  const reader = new ReadingPlugin();
  const gateway = streamGateway([reader.loaded()], {
    egress: [{ name: 'internet', pools: [], nat: { ipv4: 'none', ipv6: 'none' } }],
  });
  const receiver = new PlainReceiver(keepsFirst);
  let first = 0;
  const take = ({ view, packet, payload }: Delivered): void => {
    assert.deepEqual(problemsOf(packet), []);
    if ((view.tcpFlags & TCP_SYN) !== 0) first = view.sequence + 1;
    else receiver.take((view.sequence - first) | 0, payload, (view.tcpFlags & TCP_FIN) !== 0);
  };
  for (const packet of packetsOf(name)) {
    const isClient = packet[12] === 10;
    const left = gateway.sendBytes(isClient ? 'paris' : 'internet', packet);
    for (const delivered of left) if (delivered.port === 'internet') take(delivered);
  }
  assert.deepEqual([gateway.drops('paris'), gateway.drops('internet')], [{}, {}]);
  assert.ok(receiver.finished);
  const read = Buffer.from(reader.passed(0)).toString('latin1');
  const received = Buffer.from(receiver.read).toString('latin1');
  return { read, received, shown: reader.shown.length };
}

describe('a capture', () => {
  for (const capture of MADE_CAPTURES) {
    it(`${capture.name}: the first copy is read, and received whatever the receiver prefers`, () => {
      const expected = textOf(capture, 'first');
      for (const keepsFirst of [true, false]) {
        const { read, received } = replay(capture.name, keepsFirst);
        assert.equal(read, expected);
        assert.equal(received, expected);
      }
      if (capture.name !== 'gaps') assert.notEqual(textOf(capture, 'last'), expected);
    });

    it(`${capture.name} is what its maker makes`, () => {
      assert.deepEqual(readFileSync(capturePath(capture.name)), Buffer.from(makeCapture(capture)));
    });
  }

  it('of Linux over a path that drops: every byte, in order', () => {
    const sent = Array.from({ length: 1000 }, (_, i) => `line ${i} of what is sent\n`)
      .join('')
      .slice(0, 24_000);
    const { read, received, shown } = replay('lossy-path', true);
    assert.equal(read, sent);
    assert.equal(received, sent);
    assert.ok(shown > 20);
  });
});
