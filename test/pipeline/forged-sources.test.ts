/** Sources that nobody at the other end of a port can have. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TCP_SYN } from '../../src/wire/packet.ts';
import { MemoryGateway, type MemoryGatewayOptions } from '../support/memory-gateway.ts';
import { tcp, udp } from '../support/packets.ts';

const EXTERNAL = '198.51.100.1';
const ENDPOINT = '198.51.100.2';
const SERVER = '203.0.113.10';

const options: MemoryGatewayOptions = {
  sites: [
    { name: 'paris', prefixes: ['10.0.1.0/24', 'fd00:1::/64'] },
    { name: 'lyon', prefixes: ['10.0.2.0/24', 'fd00:2::/64'], tunnels: [{ addresses: [] }] },
  ],
  egress: [
    {
      name: 'internet',
      pools: [{ address: EXTERNAL }, { address: '2001:db8:100::1' }],
      portForwards: [
        {
          protocol: 'tcp',
          address: EXTERNAL,
          port: 8443,
          to: { site: 'lyon', address: '10.0.2.10', port: 443 },
        },
        {
          protocol: 'udp',
          address: '2001:db8:100::1',
          port: 53,
          to: { site: 'lyon', address: 'fd00:2::10', port: 53 },
        },
      ],
    },
  ],
  // As the compiler gives them: endpoints of tunnels, and the interface addresses once more.
  gatewayAddresses: [ENDPOINT, '10.0.1.1', 'fd00:1::1'],
};

describe('from an egress', () => {
  it("nobody has an address of a site, be it the port forward's own site or another", () => {
    const gateway = new MemoryGateway(options);
    const sources = ['10.0.1.10', '10.0.2.10', '10.0.2.99'];
    for (const source of sources) {
      assert.equal(gateway.send('internet', tcp(`${source} 443`, `${EXTERNAL} 8443`, TCP_SYN)).length, 0);
    }
    assert.equal(gateway.send('internet', udp('fd00:1::10 53', '2001:db8:100::1 53')).length, 0);
    assert.deepEqual(gateway.drops('internet'), { bad_source: 4 });
    assert.equal(gateway.flows, 0);
  });

  it('a client in a private network that no site declares is served', () => {
    const gateway = new MemoryGateway(options);
    const [delivered] = gateway.send('internet', tcp('192.168.7.7 5000', `${EXTERNAL} 8443`, TCP_SYN));
    assert.deepEqual([delivered.port, delivered.destination], ['lyon', '10.0.2.10']);
  });
});

describe('untranslated to an egress', () => {
  const untranslated: MemoryGatewayOptions = {
    sites: [
      { name: 'paris', prefixes: ['2001:db8:a::/64', '10.0.1.0/24'] },
      { name: 'lyon', prefixes: ['2001:db8:b::/64', '10.0.1.0/24'] },
    ],
    egress: [{ name: 'internet', pools: [], nat: { ipv4: 'none', ipv6: 'none' } }],
  };
  const SERVER6 = '2001:db8:f::1';

  it('goes only what the site declares, so that no site gets what is for another', () => {
    const gateway = new MemoryGateway(untranslated);
    for (const source of ['2001:db8:b::10', '2001:db8:c::10', 'fd00::10']) {
      assert.equal(gateway.send('paris', udp(`${source} 5000`, `${SERVER6} 53`)).length, 0);
    }
    assert.equal(gateway.send('paris', udp('10.0.9.1 5000', `${SERVER} 53`)).length, 0);
    assert.deepEqual(gateway.drops('paris'), { bad_source: 4 });
    // The other site's tuple is not taken, and its replies are its own.
    const [sent] = gateway.send('lyon', udp('2001:db8:b::10 5000', `${SERVER6} 53`));
    assert.equal(sent.sourcePort, 5000);
    const [reply] = gateway.send('internet', udp(`${SERVER6} 53`, '2001:db8:b::10 5000'));
    assert.equal(reply.port, 'lyon');
  });
});

describe("from the gateway's own addresses", () => {
  it('nothing comes, from wherever', () => {
    const gateway = new MemoryGateway(options);
    for (const source of [EXTERNAL, ENDPOINT, '10.0.1.1']) {
      assert.equal(gateway.send('paris', udp(`${source} 5000`, '10.0.2.10 53')).length, 0);
    }
    assert.equal(gateway.send('paris', udp('2001:db8:100::1 5000', 'fd00:2::10 53')).length, 0);
    assert.deepEqual(gateway.drops('paris'), { bad_source: 4 });
    assert.equal(gateway.send('internet', tcp(`${ENDPOINT} 5000`, `${EXTERNAL} 8443`, TCP_SYN)).length, 0);
    assert.deepEqual(gateway.drops('internet'), { bad_source: 1 });
  });

  it('another site may have a host with the interface address of a tunnel', () => {
    const gateway = new MemoryGateway(options);
    assert.equal(gateway.send('lyon', udp('10.0.1.1 5000', `${SERVER} 53`))[0].port, 'internet');
  });

  it('the host itself may send through a TUN device', () => {
    const gateway = new MemoryGateway(options);
    gateway.reconfigure(options, (plan) => ({
      ...plan,
      devices: plan.devices.map((device, at) => (at === 0 ? { ...device, kind: 'tun' } : device)),
    }));
    assert.equal(gateway.send('paris', udp(`${ENDPOINT} 5000`, '10.0.2.10 53'))[0].port, 'lyon');
  });
});
