/** ICMP on the packet's way: which messages pass, which flow they belong to, and what they give away. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { LoadedPlugin } from '../../src/pipeline/plugin-link.ts';
import { PACKET_PASS, VERDICT_CONTINUE } from '../../src/plugin/contract.ts';
import { buildFragments, buildPacket } from '../../src/wire/build.ts';
import { TCP_SYN } from '../../src/wire/packet.ts';
import { MemoryGateway, type MemoryGatewayOptions } from '../support/memory-gateway.ts';
import { withDataCenterOnLink } from '../support/on-link-plan.ts';
import { echo, icmpError, tcp, udp } from '../support/packets.ts';
import { problemsOf } from '../support/plain-packets.ts';

const HOST = '10.0.1.10';
const SERVER = '203.0.113.10';
const PRIVATE_SERVER = '10.50.0.10';
const EXTERNAL = '198.51.100.1';

const lab: MemoryGatewayOptions = {
  sites: [
    { name: 'paris', prefixes: ['10.0.1.0/24', 'fd00:1::/64'] },
    { name: 'datacenter', prefixes: ['10.50.0.0/16', 'fd00:50::/48'] },
  ],
  egress: [{ name: 'internet', pools: [{ address: EXTERNAL }, { address: '2001:db8:100::1' }] }],
};

describe('a ping with identifier 0, whose key has no ports', () => {
  it('lets no redirect through', () => {
    const gateway = new MemoryGateway(lab);
    assert.equal(gateway.send('paris', echo(HOST, PRIVATE_SERVER, 8, 0)).length, 1);
    const redirect = icmpError(PRIVATE_SERVER, HOST, 5, 1, new Uint8Array(28));
    assert.equal(gateway.send('datacenter', redirect).length, 0);
    assert.deepEqual(gateway.drops('datacenter'), { icmp_type: 1 });
  });

  it('does not keep an ICMP error between the same hosts from the flow that it quotes', () => {
    const gateway = new MemoryGateway(lab);
    gateway.send('paris', echo(HOST, SERVER, 8, 0));
    const [out] = gateway.send('paris', udp(`${HOST} 9`, `${SERVER} 53`));
    const [reply] = gateway.send('internet', udp(`${SERVER} 53`, `${EXTERNAL} ${out.sourcePort}`, 'late'));
    const [error] = gateway.send('paris', icmpError(HOST, SERVER, 3, 3, reply.packet));
    assert.equal(error.source, EXTERNAL);
    // The quote is what the server sent, with nothing of the site in it.
    assert.deepEqual([...error.packet.slice(28 + 16, 28 + 20)], [198, 51, 100, 1]);
    assert.equal((error.packet[28 + 22] << 8) | error.packet[28 + 23], out.sourcePort);
  });
});

describe('a ping to the gateway that is larger than the MTU', () => {
  for (const [host, own, type] of [
    [HOST, '10.0.1.1', 8],
    ['fd00:1::10', 'fd00:1::1', 128],
  ] as const) {
    it(`is answered in fragments, from ${own}`, () => {
      const gateway = new MemoryGateway(lab);
      const pieces = buildFragments(buildPacket(echo(host, own, type, 5, 'x'.repeat(4000))), 1400, 9);
      const answers = gateway.sendAll('paris', pieces);
      assert.equal(answers.length, pieces.length);
      for (const answer of answers) {
        assert.equal(answer.destination, host);
        assert.ok(answer.packet.length <= 1400);
      }
      assert.deepEqual(gateway.drops('paris'), {});
    });
  }
});

describe('ICMP errors from behind a port forward', () => {
  it('hide the routers of the site', () => {
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
              to: { site: 'paris', address: '10.0.1.20', port: 443 },
            },
          ],
        },
      ],
    });
    const client = `${SERVER} 50000`;
    const [syn] = gateway.send('internet', tcp(client, `${EXTERNAL} 8443`, TCP_SYN, { sequence: 1 }));
    const [error] = gateway.send('paris', icmpError('10.0.1.254', SERVER, 3, 1, syn.packet));
    assert.equal(error.port, 'internet');
    assert.equal(error.source, EXTERNAL);
    assert.equal(error.destination, SERVER);
  });
});

describe('ICMP errors of flows that plugins look at', () => {
  const hosts = [
    [HOST, SERVER, 3, 5],
    ['fd00:1::10', '2001:db8:113::10', 1, 4],
  ] as const;
  const errorFor = (wants: boolean, [host, server, type, lengthAt]: (typeof hosts)[number]): Uint8Array[] => {
    const looks: LoadedPlugin = {
      name: 'looks',
      phase: 'policy',
      half: {
        flowSetup: (_packet, flow) => {
          flow.wantsPackets = wants;
          return VERDICT_CONTINUE;
        },
        packet: () => PACKET_PASS,
      },
    };
    const gateway = new MemoryGateway({ ...lab, policyPlugins: [looks] });
    const [out] = gateway.send('paris', udp(`${host} 9`, `${server} 53`));
    const answer = udp(`${server} 53`, `${out!.source} ${out!.sourcePort}`, 'x'.repeat(900));
    const [reply] = gateway.send('internet', answer);
    const error = icmpError(host, server, type, 0, reply!.packet, 32 << (8 * (7 - lengthAt)));
    return gateway.send('paris', error).map(({ packet }) => {
      assert.deepEqual(problemsOf(packet), []);
      return packet;
    });
  };

  for (const host of hosts) {
    const ipBytes = host[0] === HOST ? 20 : 40;
    it(`quote no more than ports, and no bytes that nobody has seen: ${host[0]}`, () => {
      const [error] = errorFor(true, host);
      assert.equal(error!.length, ipBytes + 8 + ipBytes + 8);
      assert.deepEqual([...error!.slice(ipBytes + 4, ipBytes + 8)], [0, 0, 0, 0]);
    });

    it(`are whole where nobody looks: ${host[0]}`, () => {
      const [error] = errorFor(false, host);
      assert.equal(error!.length, ipBytes + 8 + 520);
    });
  }
});

describe('a neighbour that does not answer', () => {
  it('is reported to the sender as an unreachable host, with the packet as it came', () => {
    const gateway = new MemoryGateway(lab);
    // The data centre's hosts are neighbours on an Ethernet link, and nobody is there.
    gateway.reconfigure(lab, withDataCenterOnLink);
    const request = udp(`${HOST} 9`, `${PRIVATE_SERVER} 53`, 'anybody?', { ttl: 17, identification: 99 });
    assert.equal(gateway.send('paris', request).length, 0, 'waits for the neighbour');
    for (let second = 0; second < 4; second++) gateway.pass(1000);
    assert.equal(gateway.drops('datacenter').neighbor_unresolved, 1);
    const [error, ...more] = gateway.send('paris', request);
    assert.equal(more.length, 0);
    assert.equal(error.port, 'paris');
    assert.deepEqual([error.packet[20], error.packet[21]], [3, 1]);
    assert.deepEqual(error.packet.slice(28), buildPacket(request));
    assert.equal(gateway.drops('paris').neighbor_unresolved, 1);
    // Then the neighbour is asked for again.
    for (let second = 0; second < 4; second++) gateway.pass(1000);
    assert.equal(gateway.send('paris', request).length, 0);
    assert.equal(gateway.drops('paris').neighbor_unresolved, 1);
  });
});
