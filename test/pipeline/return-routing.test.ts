import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { PacketSpec } from '../../src/wire/build.ts';
import { TCP_ACK, TCP_SYN } from '../../src/wire/packet.ts';
import { MemoryGateway, type MemoryGatewayOptions } from '../support/memory-gateway.ts';

const SITES = ['paris', 'lyon'];

const twoSites: MemoryGatewayOptions = {
  sites: [
    ...SITES.map((name) => ({ name, prefixes: ['10.0.1.0/24', 'fd00:1::/64'] })),
    { name: 'datacenter', prefixes: ['10.50.0.0/16', 'fd00:50::/48'] },
  ],
  egress: [{ name: 'internet', pools: [{ address: '198.51.100.1' }, { address: '2001:db8:100::1' }] }],
};

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

function udp(
  source: string,
  sourcePort: number,
  destination: string,
  destinationPort: number,
  payload: string,
): PacketSpec {
  return {
    source,
    destination,
    transport: { kind: 'udp', sourcePort, destinationPort, payload: utf8(payload) },
  };
}

function tcp(
  source: string,
  sourcePort: number,
  destination: string,
  destinationPort: number,
  flags: number,
  sequence: number,
  acknowledgment = 0,
): PacketSpec {
  return {
    source,
    destination,
    transport: { kind: 'tcp', sourcePort, destinationPort, flags, sequence, acknowledgment },
  };
}

describe('sites with the same addresses', () => {
  for (const [family, host, server, external] of [
    ['IPv4', '10.0.1.10', '203.0.113.10', '198.51.100.1'],
    ['IPv6', 'fd00:1::10', '2001:db8:113::10', '2001:db8:100::1'],
  ] as const) {
    it(`${family} UDP to the internet with one five-tuple: each reply to its own site`, () => {
      const gateway = new MemoryGateway(twoSites);
      const outside = SITES.map((site) => {
        const [sent, ...more] = gateway.send(site, udp(host, 5000, server, 53, site));
        assert.equal(more.length, 0);
        assert.equal(sent.port, 'internet');
        assert.equal(sent.source, external);
        assert.equal(sent.destination, server);
        assert.equal(text(sent.payload), site);
        return sent;
      });
      assert.notEqual(outside[0].sourcePort, outside[1].sourcePort);
      for (const [i, site] of [...SITES.entries()].reverse()) {
        const [reply, ...more] = gateway.send(
          'internet',
          udp(server, 53, external, outside[i].sourcePort, `to ${site}`),
        );
        assert.equal(more.length, 0);
        assert.equal(reply.port, site);
        assert.equal(reply.source, server);
        assert.equal(reply.destination, host);
        assert.equal(reply.destinationPort, 5000);
        assert.equal(text(reply.payload), `to ${site}`);
      }
    });
  }

  it('TCP to the data centre: the second tuple is changed, replies still find their site', () => {
    const gateway = new MemoryGateway(twoSites);
    const [first] = gateway.send('paris', tcp('10.0.1.10', 4000, '10.50.0.10', 443, TCP_SYN, 100));
    const [second] = gateway.send('lyon', tcp('10.0.1.10', 4000, '10.50.0.10', 443, TCP_SYN, 900));
    assert.equal(first.port, 'datacenter');
    assert.equal(first.source, '10.0.1.10');
    assert.equal(first.sourcePort, 4000);
    assert.equal(second.source, '10.0.1.10');
    assert.notEqual(second.sourcePort, 4000);
    const answer = (port: number, sequence: number): PacketSpec =>
      tcp('10.50.0.10', 443, '10.0.1.10', port, TCP_SYN | TCP_ACK, 7, sequence + 1);
    const [toLyon] = gateway.send('datacenter', answer(second.sourcePort, 900));
    assert.equal(toLyon.port, 'lyon');
    assert.equal(toLyon.destinationPort, 4000);
    const [toParis] = gateway.send('datacenter', answer(4000, 100));
    assert.equal(toParis.port, 'paris');
    assert.equal(toParis.destinationPort, 4000);
  });

  it('ping with one identifier from both', () => {
    const gateway = new MemoryGateway(twoSites);
    const ping = (
      type: number,
      source: string,
      destination: string,
      id: number,
      payload: string,
    ): PacketSpec => ({
      source,
      destination,
      transport: { kind: 'icmp', type, rest: (id << 16) | 1, payload: utf8(payload) },
    });
    const out = SITES.map((site) => gateway.send(site, ping(8, '10.0.1.10', '203.0.113.10', 77, site))[0]);
    const ids = out.map((sent) => (sent.packet[24] << 8) | sent.packet[25]);
    assert.notEqual(ids[0], ids[1]);
    SITES.forEach((site, i) => {
      const [reply] = gateway.send('internet', ping(0, '203.0.113.10', '198.51.100.1', ids[i], site));
      assert.equal(reply.port, site);
      assert.equal((reply.packet[24] << 8) | reply.packet[25], 77);
      assert.equal(text(reply.payload), site);
    });
  });

  it('drops a reply to nobody, and packets that may not start a flow', () => {
    const gateway = new MemoryGateway(twoSites);
    assert.equal(gateway.send('internet', udp('203.0.113.10', 53, '198.51.100.1', 2000, 'x')).length, 0);
    assert.equal(gateway.send('paris', tcp('10.0.1.10', 1, '203.0.113.10', 80, TCP_ACK, 5, 5)).length, 0);
    assert.deepEqual(gateway.drops('internet'), { no_flow: 1 });
    assert.deepEqual(gateway.drops('paris'), { no_flow: 1 });
    assert.equal(gateway.flows, 0);
  });
});
