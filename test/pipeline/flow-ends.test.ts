/** What stays of a flow when it has ended: holds in both directions, and none that nobody needs. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MemoryGateway, type MemoryGatewayOptions } from '../support/memory-gateway.ts';
import { udp } from '../support/packets.ts';

const HOST = '10.0.1.10';
const SERVER = '10.50.0.10';

/** Two sites have the same addresses, and a route says which of them the data centre means. */
const lab: MemoryGatewayOptions = {
  sites: [
    { name: 'paris', prefixes: ['10.0.1.0/24'] },
    { name: 'lyon', prefixes: ['10.0.1.0/24'] },
    { name: 'datacenter', prefixes: ['10.50.0.0/16'] },
  ],
  routes: [{ prefix: '10.0.1.0/24', via: 'paris' }],
};

describe('after flows of sites with equal tuples have ended', () => {
  for (const order of [
    ['paris', 'lyon'],
    ['lyon', 'paris'],
  ]) {
    it(`all of them may use the tuple again: ${order[0]} first`, () => {
      const gateway = new MemoryGateway(lab);
      // What a host sends from a fixed port, time and again: NTP, syslog, SIP.
      const request = udp(`${HOST} 7000`, `${SERVER} 7000`, 'question');
      const ask = (site: string): void => {
        const [forwarded] = gateway.send(site, request);
        assert.equal(forwarded?.port, 'datacenter', `${site}: ${JSON.stringify(gateway.drops(site))}`);
        const [answer] = gateway.send(
          'datacenter',
          udp(`${SERVER} 7000`, `${HOST} ${forwarded.sourcePort}`, 'answer'),
        );
        assert.equal(answer?.port, site);
      };
      for (const site of ['paris', 'lyon']) ask(site);
      for (let round = 0; round < 3; round++) {
        for (let second = 0; second < 310; second++) gateway.pass(1000);
        assert.equal(gateway.flows, 0);
        for (const site of order) ask(site);
      }
    });
  }
});

describe('after a flow towards one of two sites has ended', () => {
  it('late packets of its originator do not reach the other site', () => {
    const gateway = new MemoryGateway(lab);
    const request = udp(`${SERVER} 53`, `${HOST} 7000`, 'for paris');
    assert.equal(gateway.send('datacenter', request)[0].port, 'paris');
    for (let second = 0; second < 130; second++) gateway.pass(1000);
    assert.equal(gateway.flows, 0);
    // The same tuple the other way round, from the other site.
    const [moved] = gateway.send('lyon', udp(`${HOST} 7000`, `${SERVER} 53`));
    assert.notEqual(moved.sourcePort, 7000);
    assert.equal(gateway.send('datacenter', request)[0].port, 'paris');
  });

  it('late replies do not follow the route to the other site', () => {
    const gateway = new MemoryGateway(lab);
    const request = udp(`${HOST} 7000`, `${SERVER} 53`);
    const reply = udp(`${SERVER} 53`, `${HOST} 7000`, 'for lyon');
    gateway.send('lyon', request);
    assert.equal(gateway.send('datacenter', reply)[0].port, 'lyon');
    for (let second = 0; second < 310; second++) gateway.pass(1000);
    assert.equal(gateway.flows, 0);
    assert.equal(gateway.send('datacenter', reply).length, 0);
    assert.deepEqual(gateway.drops('datacenter'), { tuple_collision: 1 });
    for (let second = 0; second < 310; second++) gateway.pass(1000);
    assert.equal(gateway.send('datacenter', reply)[0].port, 'paris', 'nobody sends that late');
  });
});
