/** The external address is replaced while flows use it, as it happens with DHCP and PPP. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TCP_ACK, TCP_SYN } from '../../src/wire/packet.ts';
import { MemoryGateway, type MemoryGatewayOptions } from '../support/memory-gateway.ts';
import { tcp, udp } from '../support/packets.ts';

const SERVER = '198.51.100.7 53';
const FORWARDED = { protocol: 'tcp', port: 8443 } as const;

/** Two sites, and an external address with one port. */
function gatewayAt(address: string): MemoryGatewayOptions {
  return {
    sites: [
      { name: 'paris', prefixes: ['10.0.1.0/24'] },
      { name: 'lyon', prefixes: ['10.0.1.0/24'] },
    ],
    egress: [
      {
        name: 'internet',
        pools: [{ address, portMin: 61000, portMax: 61000, quotaPerSite: 1 }],
        portForwards: [{ ...FORWARDED, address, to: { site: 'lyon', address: '10.0.1.20', port: 443 } }],
      },
    ],
  };
}

const FORMER = '203.0.113.5';
const PRESENT = '203.0.113.77';
const QUERY = udp('10.0.1.10 4000', SERVER);

describe('an external address that is replaced', () => {
  it('ends the flows that used it; new ones use the new address', () => {
    const gateway = new MemoryGateway(gatewayAt(FORMER));
    const [before] = gateway.send('paris', QUERY);
    assert.deepEqual([before?.source, before?.sourcePort], [FORMER, 61000]);
    assert.equal(gateway.send('internet', udp(SERVER, `${FORMER} 61000`)).length, 1);

    gateway.reconfigure(gatewayAt(PRESENT));
    assert.equal(gateway.flows, 0);
    assert.deepEqual(gateway.send('internet', udp(SERVER, `${FORMER} 61000`)), []);
    const [after] = gateway.send('paris', QUERY);
    assert.deepEqual([after?.source, after?.sourcePort], [PRESENT, 61000]);
    assert.equal(gateway.send('internet', udp(SERVER, `${PRESENT} 61000`))[0]?.port, 'paris');
  });

  it('keeps its ports from other sites when it comes back while late packets may', () => {
    const gateway = new MemoryGateway(gatewayAt(FORMER));
    gateway.send('paris', QUERY);
    gateway.reconfigure(gatewayAt(PRESENT));
    gateway.reconfigure(gatewayAt(FORMER));
    // Nothing leaves but what lyon itself is told.
    assert.deepEqual(
      gateway.send('lyon', QUERY).map(({ port }) => port),
      ['lyon'],
    );
    assert.deepEqual(gateway.drops('lyon'), { translation_ports: 1 });
    assert.deepEqual(
      gateway.send('internet', udp(SERVER, `${FORMER} 61000`)),
      [],
      'a late packet is nobody’s',
    );
    gateway.pass(600_000);
    assert.equal(gateway.send('lyon', QUERY)[0]?.sourcePort, 61000);
  });

  it('ends flows from outside that came in by a port forward to it', () => {
    const gateway = new MemoryGateway(gatewayAt(FORMER));
    const syn = tcp('198.51.100.9 5000', `${FORMER} 8443`, TCP_SYN);
    assert.equal(gateway.send('internet', syn)[0]?.port, 'lyon');
    gateway.reconfigure(gatewayAt(FORMER));
    assert.equal(gateway.flows, 1, 'a plan with the same forward changes nothing');
    gateway.reconfigure(gatewayAt(PRESENT));
    assert.equal(gateway.flows, 0);
    const answer = tcp('10.0.1.20 443', '198.51.100.9 5000', TCP_SYN | TCP_ACK, { acknowledgment: 1 });
    assert.deepEqual(gateway.send('lyon', answer), []);
  });
});
