/** GRE sequence numbers of a whole gateway that is killed and started again. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { PlanGreLink } from '../../src/pipeline/plan.ts';
import { MemoryGateway, type MemoryGatewayOptions } from '../support/memory-gateway.ts';

const LINK: PlanGreLink = {
  kind: 'gre',
  local: '192.0.2.1',
  remote: '198.51.100.10',
  key: 7,
  checksum: false,
  sequence: true,
  ttl: 64,
  device: 2,
  sourceAddresses: [],
};

function options(link: Partial<PlanGreLink> = {}): MemoryGatewayOptions {
  return {
    sites: [
      { name: 'paris', prefixes: ['10.0.1.0/24'] },
      {
        name: 'lyon',
        prefixes: ['10.0.2.0/24'],
        tunnels: [{ name: 'lyon', tunnelType: 'gre', mtu: 1476, link: { ...LINK, ...link } }],
      },
    ],
  };
}

/** Sends a packet to lyon and returns the sequence number it got. */
function sequenceOfNext(gateway: MemoryGateway): number {
  const transport = {
    kind: 'udp',
    sourcePort: 1000,
    destinationPort: 2000,
    payload: new Uint8Array(9),
  } as const;
  const sent = gateway.send('paris', { source: '10.0.1.9', destination: '10.0.2.9', transport });
  assert.equal(sent.length, 1);
  const { packet } = sent[0]!;
  return new DataView(packet.buffer, packet.byteOffset).getUint32(20 + 8);
}

test('numbers go on after a crash, and begin anew for other ends', () => {
  const first = new MemoryGateway(options());
  assert.deepEqual([sequenceOfNext(first), sequenceOfNext(first), sequenceOfNext(first)], [0, 1, 2]);
  // Nothing is said to the memory at the end: this is what a kill leaves.
  const second = new MemoryGateway({ ...options(), memory: first.buffer, nowMs: first.nowMs + 500 });
  assert.deepEqual([sequenceOfNext(second), sequenceOfNext(second)], [3, 4]);
  second.reconfigure(options({ ttl: 9 }));
  assert.equal(sequenceOfNext(second), 5);
  const other = new MemoryGateway({ ...options({ key: 8 }), memory: first.buffer, nowMs: second.nowMs });
  assert.equal(sequenceOfNext(other), 0);
});

test('numbers go on when the tunnel is given to another site', () => {
  const gateway = new MemoryGateway(options());
  sequenceOfNext(gateway);
  sequenceOfNext(gateway);
  gateway.reconfigure(options(), (plan) => ({
    ...plan,
    ports: plan.ports.map((port) => (port.name === 'lyon' ? { ...port, generation: 2 } : port)),
  }));
  assert.equal(sequenceOfNext(gateway), 2);
  const restarted = new MemoryGateway({ ...options(), memory: gateway.buffer, nowMs: gateway.nowMs });
  assert.equal(sequenceOfNext(restarted), 3);
});
