/** One site that takes all it can get leaves the others what they need for new flows, of everything they share. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ARP_BYTES, ARP_REPLY, writeArp } from '../../src/wire/arp.ts';
import { buildFragments, buildPacket } from '../../src/wire/build.ts';
import { LINK_HEADER_BYTES } from '../../src/wire/frame.ts';
import { TCP_SYN } from '../../src/wire/packet.ts';
import { type Delivered, MemoryGateway, type MemoryGatewayOptions } from '../support/memory-gateway.ts';
import { withDataCenterOnLink } from '../support/on-link-plan.ts';
import { tcp, text, udp } from '../support/packets.ts';

const HOST = '10.0.1.10';
const SERVER = '203.0.113.10';
const SERVER6 = '2001:db8:9::10';
const PRIVATE_SERVER = '10.50.0.10';
const EXTERNAL = '198.51.100.1';

/** `paris` is the greedy one; it has several tunnels. */
const lab: MemoryGatewayOptions = {
  sites: [
    {
      name: 'paris',
      prefixes: ['10.0.1.0/24', 'fd00:1::/64'],
      tunnels: ['paris', 'paris-2', 'paris-3', 'paris-4'].map((name) => ({ name })),
    },
    { name: 'lyon', prefixes: ['10.0.1.0/24', 'fd00:1::/64'] },
    { name: 'datacenter', prefixes: ['10.50.0.0/16', 'fd00:50::/48'] },
  ],
  egress: [{ name: 'internet', pools: [{ address: EXTERNAL }, { address: '2001:db8:100::1' }] }],
};

const PARIS_TUNNELS = ['paris', 'paris-2', 'paris-3', 'paris-4'];

function withPorts(count: number, quotaPerSite: number): MemoryGatewayOptions {
  const range = { portMin: 2000, portMax: 2000 + count - 1, quotaPerSite };
  const pools = [EXTERNAL, '2001:db8:100::1'].map((address) => ({ address, ...range }));
  return { ...lab, egress: [{ name: 'internet', pools }] };
}

/** Type and code of an ICMP error to its sender, by the port that it left by. */
const told = ({ port, view }: Delivered): [string, number, number] => [port, view.icmpType, view.icmpCode];

/** How many of `count` new flows of a site leave, each from a port of its own. */
function begin(gateway: MemoryGateway, site: string, count: number, to: string, firstPort = 10_000): number {
  let left = 0;
  for (let i = 0; i < count; i++) {
    const sent = gateway.send(site, udp(`${HOST} ${firstPort + i}`, to));
    if (sent.some(({ port }) => port !== site)) left++;
  }
  return left;
}

describe('external ports', () => {
  it('are kept for a site that asks last, whatever two others take', () => {
    const gateway = new MemoryGateway(withPorts(120, 60));
    assert.equal(begin(gateway, 'paris', 200, `${SERVER} 53`), 60, 'its quota');
    assert.equal(begin(gateway, 'datacenter', 200, `${SERVER} 53`), 40, 'all but what lyon is guaranteed');
    assert.equal(begin(gateway, 'lyon', 200, `${SERVER} 53`), 20);
    assert.ok(gateway.drops('paris').translation_quota > 0);
    assert.ok(gateway.drops('datacenter').translation_ports > 0);
    assert.ok(gateway.drops('lyon').translation_ports > 0);
  });

  it('are counted by protocol', () => {
    const gateway = new MemoryGateway(withPorts(120, 120));
    assert.equal(begin(gateway, 'paris', 200, `${SERVER} 53`), 80);
    const sent = Array.from({ length: 100 }, (_, i) =>
      gateway.send('paris', tcp(`${HOST} ${i + 1}`, `${SERVER} 443`, TCP_SYN)),
    );
    assert.equal(sent.flat().filter(({ port }) => port === 'internet').length, 80);
  });

  it('are guaranteed over a restart', () => {
    const options = withPorts(120, 120);
    const before = new MemoryGateway(options);
    begin(before, 'paris', 200, `${SERVER} 53`);
    before.pass(1000);
    const after = new MemoryGateway({ ...options, memory: before.buffer, nowMs: before.nowMs + 500 });
    assert.equal(begin(after, 'paris', 10, `${SERVER} 53`, 30_000), 0);
    assert.equal(begin(after, 'lyon', 200, `${SERVER} 53`), 20);
  });

  for (const [reason, quota] of [
    ['translation_quota', 1],
    ['translation_ports', 4],
  ] as const) {
    it(`say so when there are none (${reason}), rarely enough`, () => {
      const gateway = new MemoryGateway(withPorts(2, quota));
      for (const site of ['paris', 'lyon']) {
        gateway.send(site, udp(`${HOST} 1`, `${SERVER} 53`));
        gateway.send(site, udp('fd00:1::10 1', `${SERVER6} 53`));
      }
      const request = udp(`${HOST} 2`, `${SERVER} 53`, 'nobody answers');
      const [error, ...more] = gateway.send('paris', request);
      assert.deepEqual([more, told(error)], [[], ['paris', 3, 1]]);
      assert.equal(error.destination, HOST);
      assert.deepEqual(error.packet.slice(28), buildPacket(request));
      const [error6] = gateway.send('paris', udp('fd00:1::10 2', `${SERVER6} 53`));
      assert.deepEqual(told(error6), ['paris', 1, 3]);
      const errors = Array.from({ length: 100 }, () => gateway.send('paris', request)).flat();
      assert.equal(errors.length, 19, 'twenty to one receiver at a time');
      assert.equal(gateway.drops('paris')[reason], 102);
    });
  }
});

describe('the flow table', () => {
  it('has room for a site when another with four tunnels has filled it, and tells that one', () => {
    const gateway = new MemoryGateway({ ...lab, maxFlows: 60, flowTable: { perTunnel: 15 } });
    const left = PARIS_TUNNELS.map((tunnel, i) =>
      begin(gateway, tunnel, 20, `${SERVER} 53`, 10_000 + 1000 * i),
    );
    assert.deepEqual(left, [15, 15, 10, 0]);
    assert.deepEqual(
      [gateway.drops('paris-2'), gateway.drops('paris-4')],
      [{ tunnel_share: 5 }, { site_share: 20 }],
    );
    for (const tunnel of ['paris-2', 'paris-4']) {
      const request = udp(`10.0.1.77 ${tunnel.length}`, `${SERVER} 53`);
      assert.deepEqual(gateway.send(tunnel, request).map(told), [[tunnel, 3, 1]]);
    }
    assert.equal(begin(gateway, 'lyon', 20, `${SERVER} 53`), 10);
    assert.equal(begin(gateway, 'datacenter', 20, `${SERVER} 53`), 10);
    assert.equal(gateway.flows, 60);
  });

  it('is not filled from the internet by a port forward, and the internet is told nothing', () => {
    const forward = {
      protocol: 'udp',
      address: EXTERNAL,
      port: 53,
      to: { site: 'paris', address: HOST, port: 53 },
    };
    const gateway = new MemoryGateway({
      ...lab,
      maxFlows: 60,
      egress: [{ ...lab.egress![0], portForwards: [{ ...forward, protocol: 'udp' }] }],
    });
    assert.equal(begin(gateway, 'internet', 100, `${EXTERNAL} 53`), 0, 'a forged source');
    const asked = Array.from({ length: 100 }, (_, i) =>
      gateway.send('internet', udp(`${SERVER} ${1000 + i}`, `${EXTERNAL} 53`)),
    );
    assert.equal(asked.flat().length, 30);
    assert.deepEqual([...new Set(asked.flat().map(({ port }) => port.slice(0, 5)))], ['paris']);
    assert.equal(begin(gateway, 'lyon', 20, `${SERVER} 53`), 10);
  });
});

describe('held tuples', () => {
  it('of one site leave room for those of the others; what has no room stays in the table, and in its site', () => {
    const gateway = new MemoryGateway({ ...lab, maxFlows: 256 });
    const { held } = gateway.assembly.state;
    // 512 entries, 384 of them divided: 64 for each site, 192 for who comes first. A flow needs two.
    const PARIS_SPACE = 1;
    assert.equal(begin(gateway, 'paris', 170, `${PRIVATE_SERVER} 53`), 170);
    for (let second = 0; second < 130; second++) gateway.pass(1000);
    assert.equal(held.entriesOf(PARIS_SPACE), 256);
    assert.equal(gateway.flows, 170 - 128);
    assert.equal(held.hasRoom(PARIS_SPACE), false);

    // Idle flows that have not ended are still flows of their site and of nobody else.
    const lingering = Array.from({ length: 170 }, (_, i) => 10_000 + i).filter((port) => {
      const late = gateway.send('datacenter', udp(`${PRIVATE_SERVER} 53`, `${HOST} ${port}`, 'late'));
      return late.some(({ port: to }) => to.startsWith('paris'));
    });
    assert.equal(lingering.length, 42);
    for (const port of lingering) {
      const [sent] = gateway.send('lyon', udp(`${HOST} ${port}`, `${PRIVATE_SERVER} 53`));
      assert.notEqual(sent?.sourcePort, port);
    }

    // Other sites' flows begin, end and are held as ever, untranslated and in either direction.
    assert.equal(begin(gateway, 'lyon', 20, `${PRIVATE_SERVER} 5353`, 40_000), 20);
    assert.equal(begin(gateway, 'datacenter', 20, `${SERVER} 53`), 20);
    for (let i = 0; i < 20; i++) {
      const [sent] = gateway.send('lyon', udp(`10.0.1.99 ${i + 1}`, `${PRIVATE_SERVER} 99`));
      assert.equal(sent.sourcePort, i + 1);
    }
    for (let second = 0; second < 900; second++) gateway.pass(1000);
    assert.equal(gateway.flows, 0);
    assert.equal(held.entriesOf(PARIS_SPACE), 0);
  });
});

describe('reassembly', () => {
  it('completes the datagrams of one site while another sends nothing but first fragments', () => {
    const gateway = new MemoryGateway(lab);
    const pieces = (source: string, number: number, payload: string): Uint8Array[] =>
      buildFragments(buildPacket(udp(`${source} 5000`, `${SERVER} 53`, payload)), 600, number);
    for (let i = 0; i < 5000; i++) {
      const [first] = pieces(`10.0.1.${1 + (i % 200)}`, i, 'x'.repeat(1200));
      gateway.sendBytes('paris', first);
      if (i % 100 === 0) {
        const payload = `${i}${'y'.repeat(1200)}`;
        const whole = gateway.sendAll('lyon', pieces(HOST, i, payload));
        assert.ok(whole.length > 0, `datagram ${i}: ${JSON.stringify(gateway.drops('lyon'))}`);
      }
    }
    assert.deepEqual(gateway.drops('lyon'), {});
    assert.ok(gateway.drops('paris').fragment_limit > 0);
  });
});

describe('rates of new flows', () => {
  it('that one site exceeds, by whatever sources, are its own', () => {
    const gateway = new MemoryGateway({
      ...lab,
      maxFlows: 4096,
      flowTable: { createRatePerTunnel: 500, createRatePerSource: 20 },
    });
    // Every address there is in the site's network, lyon's host among them, and thousands that are not.
    for (let i = 0; i < 20_000; i++) {
      const source = `10.${i & 7}.${(i >> 3) & 255}.${1 + (i % 200)}`;
      gateway.send('paris', udp(`${source} ${1 + (i & 1023)}`, `${SERVER} 53`));
    }
    assert.ok(gateway.drops('paris').tunnel_rate > 15_000);
    assert.equal(begin(gateway, 'lyon', 20, `${SERVER} 53`), 20);
    assert.equal(begin(gateway, 'lyon', 5, `${SERVER} 53`, 20_000), 0);
    assert.deepEqual(gateway.drops('lyon'), { source_rate: 5 });
    assert.equal(begin(gateway, 'paris-2', 20, `${SERVER} 53`), 20, 'another tunnel has a rate of its own');
  });
});

describe('neighbours', () => {
  const PEER = Uint8Array.of(2, 0, 0, 0, 0, 9);

  /** The data centre is on link. */
  function onLink(): MemoryGateway {
    const gateway = new MemoryGateway({ ...lab, maxFlows: 16_384 });
    gateway.reconfigure({ ...lab, maxFlows: 16_384 }, withDataCenterOnLink);
    return gateway;
  }

  /** The answer of a host of the data centre, given as the last two bytes of its address. */
  function answerArp(gateway: MemoryGateway, third: number, fourth: number): Delivered[] {
    const frame = new Uint8Array(LINK_HEADER_BYTES + ARP_BYTES);
    frame.set([2, 0, 0, 0, 0, 1, ...PEER, 8, 6]);
    const word = (a: number, b: number, c: number, d: number): number => a | (b << 8) | (c << 16) | (d << 24);
    const own = Uint8Array.of(2, 0, 0, 0, 0, 1);
    const [peer, gatewayAddress] = [word(10, 50, third, fourth), word(10, 50, 0, 1)];
    writeArp(frame, LINK_HEADER_BYTES, ARP_REPLY, PEER, 0, peer, own, 0, gatewayAddress);
    const device = gateway.plan.ports.find(({ name }) => name === 'datacenter')!.link.device;
    gateway.io.inject(device, frame, 'ethernet');
    return gateway.run();
  }

  it('that answer are reached by one site while another asks for all that do not', () => {
    const gateway = onLink();
    gateway.send('lyon', udp(`${HOST} 9`, `${PRIVATE_SERVER} 53`, 'first'));
    assert.deepEqual(
      answerArp(gateway, 0, 10).map(({ payload }) => text(payload)),
      ['first'],
    );
    const scan = (round: number): void => {
      for (let host = 1; host < 250; host++)
        gateway.send('paris', udp(`${HOST} 9`, `10.50.${10 + round}.${host} 53`));
      gateway.pass(200);
    };
    for (let round = 0; round < 20; round++) {
      scan(round);
      const request = udp(`${HOST} 9`, `${PRIVATE_SERVER} 53`, `${round}`);
      assert.deepEqual(
        gateway.send('lyon', request).map(({ port }) => port),
        ['datacenter'],
      );
    }
    // One that is new: its first packet may be refused, but it is asked for, and the next one passes.
    gateway.send('lyon', udp(`${HOST} 9`, '10.50.1.7 53', 'once'));
    answerArp(gateway, 1, 7);
    scan(20);
    const [again] = gateway.send('lyon', udp(`${HOST} 9`, '10.50.1.7 53', 'again'));
    assert.equal(again?.port, 'datacenter');
  });
});
