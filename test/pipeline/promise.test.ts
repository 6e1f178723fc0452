/** "No packet of one site ever reaches another site by accident": what can be shown of it in memory. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PORT_FLOWS_LIVE, PORT_PACKETS_IN } from '../../src/flow/counters.ts';
import { VERDICT_CONTINUE } from '../../src/plugin/contract.ts';
import { buildFragments, buildPacket, buildTcpOptions } from '../../src/wire/build.ts';
import { TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from '../../src/wire/packet.ts';
import { MemoryGateway, type MemoryGatewayOptions } from '../support/memory-gateway.ts';
import { echo, icmpError, tcp, text, udp, utf8 } from '../support/packets.ts';

const HOST = '10.0.1.10';
const SERVER = '203.0.113.10';
const PRIVATE_SERVER = '10.50.0.10';
const EXTERNAL = '198.51.100.1';

const lab: MemoryGatewayOptions = {
  sites: [
    { name: 'paris', prefixes: ['10.0.1.0/24', 'fd00:1::/64'] },
    { name: 'lyon', prefixes: ['10.0.1.0/24', 'fd00:1::/64'] },
    { name: 'datacenter', prefixes: ['10.50.0.0/16', 'fd00:50::/48'] },
  ],
  egress: [{ name: 'internet', pools: [{ address: EXTERNAL }, { address: '2001:db8:100::1' }] }],
};

const withPool = (portMin: number, portMax: number): MemoryGatewayOptions => ({
  ...lab,
  egress: [{ name: 'internet', pools: [{ address: EXTERNAL, portMin, portMax }] }],
});

describe('flows and their ends', () => {
  it('gives an external port to another site only after the hold', () => {
    const gateway = new MemoryGateway(withPool(5000, 5000));
    assert.equal(gateway.send('paris', udp(`${HOST} 1`, `${SERVER} 53`))[0].sourcePort, 5000);
    const lyonAsks = (): string[] =>
      gateway.send('lyon', udp(`${HOST} 1`, `${SERVER} 53`)).map(({ port }) => port);
    assert.deepEqual(lyonAsks(), ['lyon'], 'an error, and nothing else');
    assert.deepEqual(gateway.drops('lyon'), { translation_ports: 1 });
    for (let second = 0; second < 130; second++) gateway.pass(1000);
    assert.equal(gateway.flows, 0);
    // A late reply belongs to nobody now, and the port is not lyon's yet.
    assert.equal(gateway.send('internet', udp(`${SERVER} 53`, `${EXTERNAL} 5000`, 'late')).length, 0);
    assert.deepEqual(lyonAsks(), ['lyon']);
    for (let second = 0; second < 310; second++) gateway.pass(1000);
    assert.equal(gateway.send('lyon', udp(`${HOST} 1`, `${SERVER} 53`))[0].sourcePort, 5000);
  });

  it('keeps a private tuple from another site after its flow has ended', () => {
    const gateway = new MemoryGateway(lab);
    const open = udp(`${HOST} 7000`, `${PRIVATE_SERVER} 53`);
    assert.equal(gateway.send('paris', open)[0].sourcePort, 7000);
    for (let second = 0; second < 130; second++) gateway.pass(1000);
    assert.equal(gateway.flows, 0);
    const [moved] = gateway.send('lyon', open);
    assert.notEqual(moved.sourcePort, 7000);
    // The late reply to paris reaches neither site; its sender is told.
    const late = gateway.send('datacenter', udp(`${PRIVATE_SERVER} 53`, `${HOST} 7000`, 'late'));
    assert.deepEqual(
      late.map((sent) => [sent.port, sent.packet[9]]),
      [['datacenter', 1]],
    );
    for (let second = 0; second < 310; second++) gateway.pass(1000);
    assert.equal(gateway.send('lyon', udp(`${HOST} 7000`, `${PRIVATE_SERVER} 54`))[0].sourcePort, 7000);
  });

  it('keeps flows, external ports and holds over a restart', () => {
    const before = new MemoryGateway(lab);
    const [out] = before.send('paris', udp(`${HOST} 1`, `${SERVER} 53`));
    const [inside] = before.send('paris', udp(`${HOST} 2`, `${PRIVATE_SERVER} 53`));
    before.pass(1000);
    const after = new MemoryGateway({ ...lab, memory: before.buffer, nowMs: before.nowMs + 500 });
    assert.equal(after.flows, 2);
    const [reply] = after.send('internet', udp(`${SERVER} 53`, `${EXTERNAL} ${out.sourcePort}`, 'r'));
    assert.equal(reply.port, 'paris');
    assert.equal(
      after.send('datacenter', udp(`${PRIVATE_SERVER} 53`, `${HOST} ${inside.sourcePort}`))[0].port,
      'paris',
    );
    assert.notEqual(after.send('lyon', udp(`${HOST} 2`, `${PRIVATE_SERVER} 53`))[0].sourcePort, 2);
    assert.notEqual(after.send('lyon', udp(`${HOST} 1`, `${SERVER} 53`))[0].sourcePort, out.sourcePort);
  });

  it('lets replies wait for their originator after a long absence', () => {
    const before = new MemoryGateway(lab);
    before.pass(0);
    const [out] = before.send('paris', udp(`${HOST} 1`, `${SERVER} 53`));
    const after = new MemoryGateway({ ...lab, memory: before.buffer, nowMs: before.nowMs + 100_000 });
    const reply = udp(`${SERVER} 53`, `${EXTERNAL} ${out.sourcePort}`, 'r');
    assert.equal(after.send('internet', reply).length, 0);
    assert.deepEqual(after.drops('internet'), { unvouched: 1 });
    // Somebody else's packet does not vouch.
    after.send('lyon', udp(`${HOST} 1`, `${SERVER} 53`));
    assert.equal(after.send('internet', reply).length, 0);
    after.send('paris', udp(`${HOST} 1`, `${SERVER} 53`));
    assert.equal(after.send('internet', reply)[0].port, 'paris');
  });

  it('ends the flows of a tunnel that becomes another one', () => {
    const gateway = new MemoryGateway(lab);
    const [out] = gateway.send('paris', udp(`${HOST} 1`, `${SERVER} 53`));
    gateway.reconfigure(lab, (plan) => ({
      ...plan,
      ports: plan.ports.map((port) => (port.name === 'paris' ? { ...port, generation: 2 } : port)),
    }));
    const { counters } = gateway.assembly;
    assert.equal(counters.port(1, PORT_PACKETS_IN), 0, "its counters were the other one's");
    assert.equal(counters.port(1, PORT_FLOWS_LIVE), 0);
    assert.equal(gateway.flows, 0);
    assert.equal(gateway.send('internet', udp(`${SERVER} 53`, `${EXTERNAL} ${out.sourcePort}`)).length, 0);
  });

  it('keeps the flows of everybody else when a tunnel comes and one goes', () => {
    const gateway = new MemoryGateway(lab);
    const [out] = gateway.send('lyon', udp(`${HOST} 1`, `${SERVER} 53`));
    const [gone] = gateway.send('paris', udp(`${HOST} 1`, `${SERVER} 53`));
    gateway.reconfigure(lab, (plan) => {
      const berlin = {
        ...plan.ports[0],
        index: 9,
        name: 'berlin',
        space: 9,
        link: { kind: 'ip', device: 9 } as const,
      };
      return {
        ...plan,
        spaces: [
          ...plan.spaces.filter((space) => space.name !== 'paris'),
          { id: 9, name: 'berlin', kind: 'site', prefixes: ['10.0.1.0/24'] },
        ],
        devices: [...plan.devices, { index: 9, name: 'berlin', kind: 'ip', mtu: 1500 }],
        ports: [...plan.ports.filter((port) => port.name !== 'paris'), berlin],
      };
    });
    assert.equal(gateway.flows, 1);
    assert.equal(gateway.send('berlin', udp(`${HOST} 1`, `${SERVER} 53`))[0].port, 'internet');
    assert.equal(
      gateway.send('internet', udp(`${SERVER} 53`, `${EXTERNAL} ${out.sourcePort}`))[0].port,
      'lyon',
    );
    assert.equal(gateway.send('internet', udp(`${SERVER} 53`, `${EXTERNAL} ${gone.sourcePort}`)).length, 0);
  });

  it('drops replies when the pinned tunnel is disabled, and follows the originator to another tunnel of its site', () => {
    const options: MemoryGatewayOptions = {
      ...lab,
      sites: [
        {
          name: 'paris',
          prefixes: ['10.0.1.0/24'],
          tunnels: [
            { name: 'paris-a', priority: 100 },
            { name: 'paris-b', priority: 200 },
          ],
        },
        ...lab.sites.slice(1),
      ],
    };
    const gateway = new MemoryGateway(options);
    const request = udp(`${HOST} 1`, `${SERVER} 53`);
    const [out] = gateway.send('paris-a', request);
    const reply = udp(`${SERVER} 53`, `${EXTERNAL} ${out.sourcePort}`, 'r');
    assert.equal(gateway.send('internet', reply)[0].port, 'paris-a');
    gateway.reconfigure(options, (plan) => ({
      ...plan,
      ports: plan.ports.map((port) => (port.name === 'paris-a' ? { ...port, enabled: false } : port)),
    }));
    assert.equal(gateway.send('internet', reply).length, 0);
    assert.equal(gateway.drops('internet').no_pin, 1);
    assert.equal(gateway.send('paris-b', request).length, 1);
    assert.equal(gateway.send('internet', reply)[0].port, 'paris-b');
    assert.equal(gateway.flows, 1);
  });

  it('routes replies, within the site only, where return routing is off', () => {
    const options: MemoryGatewayOptions = {
      ...lab,
      sites: [
        {
          name: 'paris',
          prefixes: ['10.0.1.0/24'],
          tunnels: [
            { name: 'paris-a', priority: 200, automaticReturnRouting: false },
            { name: 'paris-b', priority: 100, automaticReturnRouting: false },
          ],
        },
        ...lab.sites.slice(1),
      ],
    };
    const gateway = new MemoryGateway(options);
    const [out] = gateway.send('paris-a', udp(`${HOST} 1`, `${SERVER} 53`));
    const reply = udp(`${SERVER} 53`, `${EXTERNAL} ${out.sourcePort}`);
    assert.equal(gateway.send('internet', reply)[0].port, 'paris-b', 'the preferred one');
    const disable = (name: string): void =>
      gateway.reconfigure(options, (plan) => ({
        ...plan,
        ports: plan.ports.map((port) => (port.name.startsWith(name) ? { ...port, enabled: false } : port)),
      }));
    disable('paris-b');
    assert.equal(gateway.send('internet', reply)[0].port, 'paris-a');
    disable('paris');
    assert.equal(gateway.send('internet', reply).length, 0);
  });

  it('takes a TCP tuple anew when the client reuses it, and gives the old port to nobody', () => {
    const gateway = new MemoryGateway(lab);
    const client = `${HOST} 4000`;
    const server = `${SERVER} 80`;
    const [syn] = gateway.send('paris', tcp(client, server, TCP_SYN, { sequence: 100 }));
    const outside = `${EXTERNAL} ${syn.sourcePort}`;
    gateway.send('internet', tcp(server, outside, TCP_SYN | TCP_ACK, { sequence: 500, acknowledgment: 101 }));
    gateway.send('paris', tcp(client, server, TCP_ACK, { sequence: 101, acknowledgment: 501 }));
    gateway.send('paris', tcp(client, server, TCP_FIN | TCP_ACK, { sequence: 101, acknowledgment: 501 }));
    gateway.send('internet', tcp(server, outside, TCP_FIN | TCP_ACK, { sequence: 501, acknowledgment: 102 }));
    gateway.send('paris', tcp(client, server, TCP_ACK, { sequence: 102, acknowledgment: 502 }));
    const [again] = gateway.send('paris', tcp(client, server, TCP_SYN, { sequence: 90_000 }));
    assert.equal(again.port, 'internet');
    assert.equal(gateway.flows, 1);
    assert.equal(again.sourcePort, syn.sourcePort);
  });

  it('does not end a flow for a blind reset', () => {
    const gateway = new MemoryGateway(lab);
    const client = `${HOST} 4000`;
    const server = `${PRIVATE_SERVER} 80`;
    gateway.send('paris', tcp(client, server, TCP_SYN, { sequence: 100 }));
    gateway.send(
      'datacenter',
      tcp(server, client, TCP_SYN | TCP_ACK, { sequence: 500, acknowledgment: 101 }),
    );
    gateway.send('paris', tcp(client, server, TCP_ACK, { sequence: 101, acknowledgment: 501 }));
    assert.equal(
      gateway.send('datacenter', tcp(server, client, TCP_RST, { sequence: 90_000_000 })).length,
      0,
    );
    assert.equal(
      gateway.send(
        'datacenter',
        tcp(server, client, TCP_ACK, { sequence: 501, acknowledgment: 101, payload: utf8('ok') }),
      )[0].port,
      'paris',
    );
  });
});

describe('ICMP errors', () => {
  it('go to the site whose packet they quote, translated inside and out', () => {
    const gateway = new MemoryGateway(lab);
    const outs = ['paris', 'lyon'].map(
      (site) => gateway.send(site, udp(`${HOST} 9`, `${SERVER} 53`, site))[0],
    );
    for (const [i, site] of ['paris', 'lyon'].entries()) {
      const [error, ...more] = gateway.send(
        'internet',
        icmpError('203.0.113.1', EXTERNAL, 3, 1, outs[i].packet),
      );
      assert.equal(more.length, 0);
      assert.equal(error.port, site);
      assert.equal(error.source, '203.0.113.1');
      assert.equal(error.destination, HOST);
      const quoted = error.packet.slice(28);
      assert.deepEqual([...quoted.slice(12, 16)], [10, 0, 1, 10]);
      assert.equal((quoted[20] << 8) | quoted[21], 9);
      assert.equal(text(quoted.slice(28)), site);
    }
  });

  it('from inside a site hide its routers', () => {
    const gateway = new MemoryGateway(lab);
    const [out] = gateway.send('paris', udp(`${HOST} 9`, `${SERVER} 53`));
    const [inside] = gateway.send('internet', udp(`${SERVER} 53`, `${EXTERNAL} ${out.sourcePort}`, 'reply'));
    const [error] = gateway.send('paris', icmpError('10.0.1.254', SERVER, 3, 1, inside.packet));
    assert.equal(error.port, 'internet');
    assert.equal(error.source, EXTERNAL);
    assert.equal(error.destination, SERVER);
  });

  it('that quote nothing of ours, or go to somebody else, are dropped', () => {
    const gateway = new MemoryGateway(lab);
    const [out] = gateway.send('paris', udp(`${HOST} 9`, `${SERVER} 53`));
    const foreign = buildPacket(udp(`${EXTERNAL} 1`, `${SERVER} 53`));
    assert.equal(gateway.send('internet', icmpError('203.0.113.1', EXTERNAL, 3, 1, foreign)).length, 0);
    assert.equal(
      gateway.send('internet', icmpError('203.0.113.1', '198.51.100.9', 3, 1, out.packet)).length,
      0,
    );
    // The right quote from the wrong space.
    assert.equal(gateway.send('lyon', icmpError('203.0.113.1', EXTERNAL, 3, 1, out.packet)).length, 0);
    assert.equal(gateway.send('datacenter', icmpError('203.0.113.1', EXTERNAL, 3, 1, out.packet)).length, 0);
    assert.equal(gateway.drops('internet').icmp_quote, 2);
  });

  it('of TCP need a sequence number that was sent', () => {
    const gateway = new MemoryGateway(lab);
    const [syn] = gateway.send('paris', tcp(`${HOST} 9`, `${SERVER} 80`, TCP_SYN, { sequence: 1000 }));
    const forged = syn.packet.slice();
    forged[24] ^= 0x40;
    assert.equal(gateway.send('internet', icmpError('203.0.113.1', EXTERNAL, 3, 3, forged)).length, 0);
    assert.equal(
      gateway.send('internet', icmpError('203.0.113.1', EXTERNAL, 3, 3, syn.packet))[0].port,
      'paris',
    );
  });

  it('of our own: time exceeded goes back by the port it came in by', () => {
    const gateway = new MemoryGateway(lab);
    for (const site of ['paris', 'lyon']) {
      const [error] = gateway.send(site, udp(`${HOST} 9`, `${SERVER} 33434`, site, { ttl: 1 }));
      assert.equal(error.port, site);
      assert.equal(error.source, '10.0.1.1');
      assert.equal(error.destination, HOST);
      assert.equal(error.packet[20], 11);
    }
    assert.equal(gateway.flows, 0);
  });

  it('of our own: packet too big names the MTU of the way out', () => {
    const gateway = new MemoryGateway({
      ...lab,
      sites: lab.sites.map((site) => ({ ...site, mtu: site.name === 'paris' ? 1400 : 1500 })),
    });
    const [out] = gateway.send('paris', udp(`${HOST} 9`, `${SERVER} 53`));
    const big = udp(`${SERVER} 53`, `${EXTERNAL} ${out.sourcePort}`, new Uint8Array(1450), {
      dontFragment: true,
    });
    const [error, ...more] = gateway.send('internet', big);
    assert.equal(more.length, 0);
    assert.equal(error.port, 'internet');
    assert.equal(error.destination, SERVER);
    assert.deepEqual([error.packet[20], error.packet[21]], [3, 4]);
    assert.equal((error.packet[26] << 8) | error.packet[27], 1400);
  });
});

describe('MTU', () => {
  it('of both ways bounds the MSS that a SYN announces', () => {
    const gateway = new MemoryGateway({
      ...lab,
      sites: lab.sites.map((site) => ({ ...site, mtu: site.name === 'paris' ? 1400 : 1500 })),
    });
    const options = buildTcpOptions({ mss: 1460 });
    const mss = (packet: Uint8Array): number => (packet[42] << 8) | packet[43];
    const [syn] = gateway.send('paris', tcp(`${HOST} 1`, `${SERVER} 80`, TCP_SYN, { sequence: 1, options }));
    assert.equal(mss(syn.packet), 1360);
    const answer = { sequence: 7, acknowledgment: 2, options };
    const back = tcp(`${SERVER} 80`, `${EXTERNAL} ${syn.sourcePort}`, TCP_SYN | TCP_ACK, answer);
    assert.equal(mss(gateway.send('internet', back)[0].packet), 1360);
    const [other] = gateway.send('lyon', tcp(`${HOST} 1`, `${SERVER} 80`, TCP_SYN, { sequence: 1, options }));
    assert.equal(mss(other.packet), 1460);
  });
});

describe('fragments', () => {
  it('of two sites with equal identifications do not mix, and leave with fresh ones', () => {
    const gateway = new MemoryGateway(lab);
    const pieces = (site: string): Uint8Array[] =>
      buildFragments(buildPacket(udp(`${HOST} 9`, `${SERVER} 53`, site.repeat(500))), 600, 0x1234);
    const paris = pieces('paris');
    const lyon = pieces('lyon_');
    assert.equal(gateway.sendAll('paris', paris.slice(1).reverse()).length, 0);
    assert.equal(gateway.sendAll('lyon', lyon.slice(1)).length, 0);
    const outs = [gateway.sendAll('paris', paris.slice(0, 1)), gateway.sendAll('lyon', lyon.slice(0, 1))];
    const identifications = new Set<number>();
    for (const [i, site] of ['paris', 'lyon_'].entries()) {
      assert.equal(outs[i].length, paris.length);
      const data = outs[i].flatMap((piece) => [...piece.packet.slice(20)]);
      assert.equal(text(Uint8Array.from(data).slice(8)), site.repeat(500));
      for (const piece of outs[i]) {
        assert.ok(piece.packet.length <= 600);
        identifications.add(piece.view.identification);
      }
    }
    assert.equal(identifications.size, 2);
    assert.ok(!identifications.has(0x1234));
  });

  it('that overlap are dropped with their datagram', () => {
    const gateway = new MemoryGateway(lab);
    const whole = buildPacket(udp(`${HOST} 9`, `${SERVER} 53`, 'x'.repeat(1600)));
    const [first, second, third] = buildFragments(whole, 600, 7);
    const other = buildFragments(buildPacket(udp(`${HOST} 9`, `${SERVER} 53`, 'y'.repeat(1600))), 400, 7)[1];
    assert.equal(gateway.sendAll('paris', [first, other, second, third]).length, 0);
    assert.ok(gateway.drops('paris').fragment_overlap > 0);
    assert.equal(gateway.flows, 0);
  });
});

describe('where packets may go', () => {
  it('private destinations nobody declares, ambiguous ones, and the own site are refused', () => {
    const gateway = new MemoryGateway(lab);
    const [told] = gateway.send('paris', udp(`${HOST} 1`, '192.168.1.1 53'));
    assert.deepEqual([told.port, told.packet[20], told.packet[21]], ['paris', 3, 0]);
    assert.equal(gateway.send('paris', udp(`${HOST} 1`, '10.0.1.99 53')).length, 0);
    const [ambiguous] = gateway.send('datacenter', udp(`${PRIVATE_SERVER} 1`, `${HOST} 53`));
    assert.deepEqual([ambiguous.port, ambiguous.packet[20]], ['datacenter', 3]);
    assert.deepEqual(gateway.drops('paris'), { private_destination: 1, own_site_destination: 1 });
    assert.deepEqual(gateway.drops('datacenter'), { ambiguous_destination: 1 });
    assert.equal(gateway.flows, 0);
  });

  it('tunnel protocols and tunnel endpoints are out of reach', () => {
    const gateway = new MemoryGateway({
      ...lab,
      gatewayAddresses: ['192.0.2.1'],
      flowTable: { otherProtocols: [47, 50, 132] },
    });
    for (const protocol of [4, 41, 47, 50, 51]) {
      const packet = {
        source: HOST,
        destination: SERVER,
        transport: { kind: 'raw', protocol, payload: new Uint8Array(24) },
      } as const;
      assert.equal(gateway.send('paris', packet).length, 0);
    }
    gateway.send('paris', udp(`${HOST} 500`, '192.0.2.1 500'));
    gateway.send('paris', udp(`${HOST} 500`, `${EXTERNAL} 500`));
    const drops = gateway.drops('paris');
    assert.equal(drops.gateway_destination, 2);
    assert.equal((drops.forbidden_protocol ?? 0) + (drops.no_flow ?? 0), 5);
    // A protocol without ports cannot share an address.
    gateway.send('paris', {
      source: HOST,
      destination: SERVER,
      transport: { kind: 'raw', protocol: 132, payload: new Uint8Array(24) },
    });
    assert.equal(gateway.drops('paris').translation_protocol, 1);
  });

  it('a protocol without ports is forwarded privately for one site and refused for the second', () => {
    const gateway = new MemoryGateway({ ...lab, flowTable: { otherProtocols: [132] } });
    const packet = {
      source: HOST,
      destination: PRIVATE_SERVER,
      transport: { kind: 'raw', protocol: 132, payload: new Uint8Array(24) },
    } as const;
    assert.equal(gateway.send('paris', packet)[0].port, 'datacenter');
    assert.equal(gateway.send('lyon', packet).length, 0);
    assert.deepEqual(gateway.drops('lyon'), { tuple_collision: 1 });
  });

  it('ping to the gateway is answered on the port it came in by', () => {
    const gateway = new MemoryGateway(lab);
    for (const site of ['paris', 'lyon']) {
      const [reply] = gateway.send(site, echo(HOST, '10.0.1.1', 8, 5, site));
      assert.equal(reply.port, site);
      assert.equal(reply.packet[20], 0);
      const [reply6] = gateway.send(site, echo('fd00:1::10', 'fd00:1::1', 128, 5, site));
      assert.equal(reply6.port, site);
    }
    assert.equal(gateway.flows, 0);
  });

  it('a source that the responder would look for elsewhere is refused between sites', () => {
    const gateway = new MemoryGateway({
      ...lab,
      sites: [...lab.sites, { name: 'nice', prefixes: ['10.77.0.0/16'] }],
    });
    for (const source of [SERVER, '10.50.0.9', '10.77.0.1']) {
      assert.equal(gateway.send('paris', udp(`${source} 53`, `${PRIVATE_SERVER} 5000`)).length, 0, source);
    }
    assert.deepEqual(gateway.drops('paris'), { bad_source: 3 });
    // Its own packets to such an address go where they belong.
    assert.equal(
      gateway.send('datacenter', udp(`${PRIVATE_SERVER} 5000`, `${SERVER} 53`))[0].port,
      'internet',
    );
    // A private source that nobody declares is the sender's own matter.
    assert.equal(
      gateway.send('paris', udp('192.168.7.5 53', `${PRIVATE_SERVER} 5000`))[0].port,
      'datacenter',
    );
  });

  it('link-local tunnel addresses: ping is answered, nothing is forwarded', () => {
    const inner = {
      ...lab,
      sites: lab.sites.map((site) => ({
        ...site,
        tunnels: [{ name: site.name, addresses: ['169.254.240.0'] }],
      })),
    };
    const gateway = new MemoryGateway(inner);
    assert.equal(gateway.send('lyon', echo('169.254.240.1', '169.254.240.0', 8, 5))[0].port, 'lyon');
    assert.equal(gateway.send('lyon', echo('169.254.240.1', '169.254.240.9', 8, 5)).length, 0);
    assert.equal(gateway.send('lyon', udp('169.254.240.1 5', `${SERVER} 53`)).length, 0);
    assert.equal(gateway.send('lyon', udp(`${HOST} 5`, '169.254.240.1 53')).length, 0);
    const [out] = gateway.send('lyon', udp(`${HOST} 5`, `${PRIVATE_SERVER} 53`));
    const [error] = gateway.send('datacenter', icmpError('169.254.240.1', HOST, 11, 0, out.packet));
    assert.equal(error.port, 'lyon');
    assert.equal(error.source, '169.254.240.1');
  });

  it('hairpins within a site and not to another', () => {
    const gateway = new MemoryGateway(lab);
    const [out] = gateway.send('paris', udp('10.0.1.20 6000', `${SERVER} 53`));
    const external = `${EXTERNAL} ${out.sourcePort}`;
    const [hairpin] = gateway.send('paris', udp(`${HOST} 7000`, external, 'hello'));
    assert.equal(hairpin.port, 'paris');
    assert.equal(hairpin.destination, '10.0.1.20');
    assert.equal(hairpin.destinationPort, 6000);
    assert.equal(hairpin.source, EXTERNAL);
    const [back] = gateway.send('paris', udp('10.0.1.20 6000', `${EXTERNAL} ${hairpin.sourcePort}`, 'back'));
    assert.equal(back.port, 'paris');
    assert.equal(back.destination, HOST);
    assert.equal(back.source, EXTERNAL);
    assert.equal(back.sourcePort, out.sourcePort);
    assert.equal(gateway.send('lyon', udp(`${HOST} 7000`, external, 'hello')).length, 0);
    assert.deepEqual(gateway.drops('lyon'), { gateway_destination: 1 });
  });

  it('forwards a port to the site, address and port that it names', () => {
    const gateway = new MemoryGateway({
      ...lab,
      egress: [
        {
          name: 'internet',
          pools: [{ address: EXTERNAL }],
          portForwards: [
            {
              protocol: 'tcp',
              address: EXTERNAL,
              port: 8443,
              to: { site: 'lyon', address: '10.0.1.20', port: 443 },
            },
          ],
        },
      ],
    });
    const client = '203.0.113.77 50000';
    const [syn] = gateway.send('internet', tcp(client, `${EXTERNAL} 8443`, TCP_SYN, { sequence: 1 }));
    assert.equal(syn.port, 'lyon');
    assert.equal(syn.destination, '10.0.1.20');
    assert.equal(syn.destinationPort, 443);
    const answer = tcp('10.0.1.20 443', client, TCP_SYN | TCP_ACK, { sequence: 9, acknowledgment: 2 });
    assert.equal(gateway.send('paris', answer).length, 0, 'the same answer from the wrong site');
    const [reply] = gateway.send('lyon', answer);
    assert.equal(reply.port, 'internet');
    assert.equal(reply.source, EXTERNAL);
    assert.equal(reply.sourcePort, 8443);
    assert.equal(
      gateway.send('internet', tcp(client, `${EXTERNAL} 8444`, TCP_SYN, { sequence: 1 })).length,
      0,
    );
  });
});

describe('budgets', () => {
  it('a full table keeps its flows, refuses new ones by reason, and recovers', () => {
    let judged = 0;
    const half = {
      flowSetup: () => {
        judged++;
        return VERDICT_CONTINUE;
      },
    };
    const judge = { name: 'judge', phase: 'policy', half } as const;
    const gateway = new MemoryGateway({ ...lab, maxFlows: 16, policyPlugins: [judge] });
    for (let i = 0; i < 20; i++) gateway.send('paris', udp(`${HOST} ${1000 + i}`, `${PRIVATE_SERVER} 53`));
    assert.equal(gateway.flows, 12, 'two of sixteen are kept for either of the other sites');
    assert.equal(gateway.drops('paris').site_share, 8);
    for (const site of ['lyon', 'datacenter']) {
      for (let i = 0; i < 3; i++) gateway.send(site, udp(`${PRIVATE_SERVER} ${1000 + i}`, `${SERVER} 53`));
    }
    assert.equal(gateway.flows, 16);
    assert.deepEqual(
      [gateway.drops('lyon'), gateway.drops('datacenter')],
      [{ site_share: 1 }, { table_full: 1 }],
    );
    assert.equal(judged, 16, 'plugins judge no flow for which there is no room');
    assert.equal(gateway.send('datacenter', udp(`${PRIVATE_SERVER} 53`, `${HOST} 1003`))[0].port, 'paris');
    // As many of paris's as its share of held tuples allows; the others wait until nothing of them is left to hold.
    for (let second = 0; second < 310; second++) gateway.pass(1000);
    assert.equal(gateway.flows, 4);
    for (let second = 0; second < 120; second++) gateway.pass(1000);
    assert.equal(gateway.flows, 0);
    assert.equal(gateway.send('paris', udp(`${HOST} 1`, `${PRIVATE_SERVER} 53`)).length, 1);
  });

  it('bounds a tunnel by its share and its rate, and a source by its rate', () => {
    const gateway = new MemoryGateway({
      ...lab,
      flowTable: { perTunnel: 8, createRatePerSource: 5, createRatePerTunnel: 7 },
    });
    for (let i = 0; i < 8; i++) gateway.send('paris', udp(`${HOST} ${1000 + i}`, `${SERVER} 53`));
    for (let i = 0; i < 8; i++) gateway.send('paris', udp(`10.0.1.11 ${1000 + i}`, `${SERVER} 53`));
    assert.equal(gateway.drops('paris').source_rate, 3);
    assert.ok(gateway.drops('paris').tunnel_rate >= 6);
    gateway.pass(1000);
    for (let i = 0; i < 8; i++) gateway.send('paris', udp(`10.0.1.12 ${1000 + i}`, `${SERVER} 53`));
    assert.ok(gateway.drops('paris').tunnel_share > 0);
    assert.equal(
      gateway.send('lyon', udp(`${HOST} 1`, `${SERVER} 53`)).length,
      1,
      'the other site has its own',
    );
  });
});
