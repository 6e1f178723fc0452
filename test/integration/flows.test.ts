/**
 * Flows, explanations, routes and the audit of a real gateway: two sites, one behind a TUN device (this host), one behind
 * an interconnect, in a namespace of its own.
 */
import assert from 'node:assert/strict';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { audit } from '../../src/api/client/audit.ts';
import { explain, listRoutes, testRoute } from '../../src/api/client/explain.ts';
import { flushFlows, listFlows, showFlow } from '../../src/api/client/flows.ts';
import { ApiError } from '../../src/api/client.ts';
import { DaemonHost } from '../support/daemon-host.ts';
import { linesOf, NetworkNamespace } from '../support/network-namespace.ts';
import { eventually } from '../support/patience.ts';

const UDP_END = join(import.meta.dirname, '../support/udp-end.ts');
const MAIN = join(import.meta.dirname, '../../src/main.ts');
const skip = process.getuid?.() === 0 ? false : 'needs root';

const CLIENT = '10.0.2.5';
/** An address of the same site that it does not declare. */
const STRANGER = '10.99.0.5';
const SERVER = '10.0.1.20';
const ECHO_PORT = 7;
/** A loaded machine needs this long for the start of two processes. */
const START_MS = 40_000;
const CONFIG = `
version: 1
gateway: { name: gw1 }
sites:
  - name: lyon
    prefixes: [10.0.1.0/24]
    tunnels:
      - { name: lyon-ic, type: interconnect, device: ic0, interface_address: 172.20.0.1/30, next_hop: 172.20.0.2 }
  - name: nice
    prefixes: [10.0.3.0/24]
    tunnels:
      - { name: nice-tun, type: device, device: tun-nice, driver: tun }
  - name: cannes
    prefixes: [10.0.3.0/24]
    tunnels:
      - { name: cannes-tun, type: device, device: tun-cannes, driver: tun }
  - name: dc
    prefixes: [10.0.2.0/24]
    tunnels:
      - { name: dc-tun, type: device, device: tun-dc, driver: tun }
egress:
  - { name: internet, type: internet, device: up0 }
routes:
  - { prefix: 0.0.0.0/0, via: internet }
flow_table: { max_flows: 32768, per_tunnel: 100%, create_rate: { per_tunnel: 50000/s, per_source: 50000/s } }
`;

/** A gateway that forwards between this host, as a site, and a host behind the interconnect that echoes. */
class Bench {
  readonly host: DaemonHost;
  readonly far = new NetworkNamespace();

  private constructor(t: TestContext) {
    this.host = new DaemonHost(t);
    t.after(() => this.far.remove());
  }

  static async start(t: TestContext, echoPorts: readonly number[]): Promise<Bench> {
    const bench = new Bench(t);
    const { host, far } = bench;
    writeFileSync(host.configPath, CONFIG);
    host.namespace.ip(`link set ic1 netns ${far.name}`);
    far.ip(
      'link set lo up',
      'link set ic1 up',
      'address add 172.20.0.2/30 dev ic1',
      `address add ${SERVER}/32 dev lo`,
      'route add default via 172.20.0.1',
    );
    host.namespace.ip(`address add ${CLIENT}/32 dev lo`, `address add ${STRANGER}/32 dev lo`);
    host.start();
    await eventually(
      'the gateway forwards',
      async () => (await host.status().catch(() => undefined))?.dataPlane.state === 'forwarding',
      START_MS,
    );
    host.namespace.ip(`route add ${SERVER}/32 dev tun-dc`);
    if (echoPorts.length > 0) await bench.ready(far, 'echo', SERVER, ...echoPorts.map(String));
    return bench;
  }

  /** Starts an end of conversations that says when it is ready. */
  async ready(namespace: NetworkNamespace, ...args: string[]): Promise<ChildProcessWithoutNullStreams> {
    const child = namespace.spawn(process.execPath, [UDP_END, ...args]);
    const { value } = await linesOf(child).next();
    assert.equal(value, 'ready');
    return child;
  }

  async spread(source: string, from: number, to: number): Promise<void> {
    const args = [UDP_END, 'spread', source, SERVER, String(from), String(to)];
    const { status, stderr } = await this.host.namespace.attempt(process.execPath, args);
    assert.equal(status, 0, stderr);
  }

  /** The command line, in the gateway's namespace. */
  async homeward(...args: string[]): Promise<string> {
    const { host } = this;
    const run = await host.namespace.attempt('env', [
      `HOMEWARD_RUNTIME_DIR=${host.runtimeDirectory}`,
      'NO_COLOR=1',
      process.execPath,
      MAIN,
      ...args,
    ]);
    assert.equal(run.status, 0, run.stderr);
    return run.stdout;
  }
}

function hasCode(code: string): (error: unknown) => boolean {
  return (error) => error instanceof ApiError && error.problem?.code === code;
}

async function operatesOnFlows(bench: Bench): Promise<void> {
  const { api } = bench.host;
  await bench.spread(CLIENT, 3, 2);
  await bench.spread(STRANGER, 1, 1);
  const flows = await eventually('all flows are answered', async () => {
    const page = await listFlows(api, { state: 'answered' }, 100);
    return page.flows.length >= 6
      ? page.flows.filter(({ original }) => original.source === CLIENT)
      : undefined;
  });

  const [flow] = flows;
  assert.deepEqual(
    [flow!.site, flow!.from, flow!.to, flow!.ingress, flow!.pin, flow!.egress, flow!.translated],
    ['dc', 'dc', 'lyon', 'dc-tun', 'dc-tun', 'lyon-ic', null],
  );
  assert.deepEqual(
    [flow!.originator, flow!.reply],
    [
      { packets: 1, bytes: 32 },
      { packets: 1, bytes: 32 },
    ],
  );
  assert.equal((await showFlow(api, flow!.id)).id, flow!.id);

  const { sourcePort, destinationPort } = flow!.original;
  const tuple = { source: CLIENT, destination: SERVER, protocol: 'udp', source_port: sourcePort };
  const live = await explain(api, { ...tuple, destination_port: destinationPort });
  assert.deepEqual(
    [live.flow, live.verdict, live.pin, live.egress],
    [flow!.id, 'forward', 'dc-tun', 'lyon-ic'],
  );
  await assert.rejects(explain(api, tuple), hasCode('several_flows'));
  await assert.rejects(explain(api, { ...tuple, source: '10.0.2.99' }), hasCode('no_such_flow'));
  const hit = await explain(api, { ...tuple, destination_port: destinationPort, from_tunnel: 'dc-tun' });
  assert.equal(hit.flow, flow!.id);

  const packet = { from_tunnel: 'dc-tun', source: CLIENT, protocol: 'tcp' };
  const outcomes: [destination: string, verdict: string, reason: string | null, to: string | null][] = [
    [SERVER, 'forward', null, 'lyon'],
    ['10.0.3.7', 'drop', 'ambiguous_destination', null],
    ['10.0.2.9', 'drop', 'own_site_destination', null],
    ['10.77.0.1', 'drop', 'private_destination', null],
    ['192.0.2.1', 'drop', 'gateway_destination', null],
  ];
  for (const [destination, verdict, reason, to] of outcomes) {
    const explanation = await explain(api, { ...packet, destination });
    assert.deepEqual(
      [explanation.verdict, explanation.reason, explanation.to],
      [verdict, reason, to],
      destination,
    );
  }
  const text = await bench.homeward(
    'flows',
    'explain',
    '--from-tunnel',
    'dc-tun',
    '--src',
    CLIENT,
    '--dst',
    '10.0.3.7',
  );
  assert.match(
    text,
    /^no +route +10\.0\.3\.7 is ambiguous: nice and cannes declare it, .*\n\nIt is dropped: ambiguous_destination\.$/m,
  );

  const listed = await bench.homeward('flows', 'list', '--dst', SERVER, '--sport', '20001');
  assert.equal(
    listed.match(/^\d+ +udp +answered +dc +10\.0\.2\.5:20001 +10\.0\.1\.20:2000[01] /gm)?.length,
    2,
    listed,
  );
  await assert.rejects(flushFlows(api, {}), hasCode('flush_what'));
  assert.equal(await flushFlows(api, { source_port: 20_001 }, { validateOnly: true }), 2);
  assert.match(await bench.homeward('flows', 'flush', '--sport', '20001'), /^2 flows ended\.$/m);
  assert.equal(await flushFlows(api, { source_port: 20_001 }), 0);
  await assert.rejects(showFlow(api, 4_000_000), hasCode('no_such_flow'));

  const report = await audit(api);
  assert.deepEqual(
    report.overlaps.map(({ prefix, verdict }) => [prefix, verdict]),
    [['10.0.3.0/24', 'ambiguous']],
  );
  assert.deepEqual(
    report.undeclared?.addresses.map(({ site, address }) => [site, address]),
    [['dc', STRANGER]],
  );
  assert.match(
    await bench.homeward('audit'),
    /10\.99\.0\.5 begins flows \(1 now\) in dc, by dc-tun: no site declares it\./,
  );
}

async function tellsRoutes(bench: Bench): Promise<void> {
  const { api } = bench.host;
  assert.deepEqual(
    (await listRoutes(api)).map(({ prefix, via, kind, state, ports }) => [
      prefix,
      via,
      kind,
      state,
      ports.join(),
    ]),
    [
      ['0.0.0.0/0', 'internet', 'route', 'active', 'internet'],
      ['10.0.1.0/24', 'lyon', 'declared', 'active', 'lyon-ic'],
      ['10.0.2.0/24', 'dc', 'declared', 'active', 'dc-tun'],
      ['10.0.3.0/24', 'nice', 'declared', 'ambiguous', 'nice-tun'],
      ['10.0.3.0/24', 'cannes', 'declared', 'ambiguous', 'cannes-tun'],
    ],
  );
  const { verdict, to, egress, ports } = await testRoute(api, SERVER, 'dc-tun');
  assert.deepEqual([verdict, to, egress, ports.length], ['forward', 'lyon', 'lyon-ic', 1]);
  assert.equal((await testRoute(api, '10.0.2.7', 'dc-tun')).reason, 'own_site_destination');
  assert.equal((await testRoute(api, '10.0.2.7', undefined)).to, 'dc');
  await assert.rejects(testRoute(api, SERVER, 'dc-tum'), hasCode('unknown_name'));
  assert.match(await bench.homeward('routes', 'test', '203.0.113.9'), /^It goes to internet by internet\.$/m);
  bench.host.namespace.ip('link delete ic0');
  await eventually(
    'the route says that the tunnel is down',
    async () => {
      const { reason } = await testRoute(api, SERVER, undefined);
      return reason === 'port_down';
    },
    START_MS,
  );
}

const FLOWS = 10_000;
const PINGS_PER_SECOND = 500;
const LISTINGS = 5;
const COMMANDS = 3;
/** So long each part of the measurement takes at least. */
const PART_MS = 3000;

async function listsManyFlows(bench: Bench, t: TestContext): Promise<void> {
  const { api, namespace } = bench.host;
  await bench.spread(CLIENT, 100, FLOWS / 100);
  await eventually('the flows are there', async () => (await api.status()).flows!.current >= FLOWS, 20_000);

  const pinged = async (during: () => Promise<void>): Promise<{ sent: number; received: number }> => {
    const args = ['ping', CLIENT, SERVER, String(ECHO_PORT), String(PINGS_PER_SECOND)];
    const child = namespace.spawn(process.execPath, [UDP_END, ...args]);
    const lines = linesOf(child);
    assert.equal((await lines.next()).value, 'ready');
    await during();
    child.stdin.write('stop\n');
    return JSON.parse((await lines.next()).value);
  };
  const before = await losses(bench);
  const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, PART_MS));
  const alone = await pinged(pause);
  const tookMs: number[] = [];
  const listing = await pinged(async () => {
    const until = performance.now() + PART_MS;
    while (tookMs.length < LISTINGS || performance.now() < until) {
      const began = performance.now();
      const { flows } = await listFlows(api, { source: CLIENT, destination: SERVER }, FLOWS);
      tookMs.push(Math.round(performance.now() - began));
      assert.equal(flows.length, FLOWS);
      assert.equal(new Set(flows.map(({ id }) => id)).size, FLOWS);
    }
  });
  t.diagnostic(`listing ${FLOWS} flows took ${tookMs.join(', ')} ms`);
  t.diagnostic(`pings alone ${JSON.stringify(alone)}`);
  t.diagnostic(`pings while flows were listed ${JSON.stringify(listing)}`);

  // The command line has a start of Node in it, on the same processors.
  const command = ['flows', 'list', '--src', CLIENT, '--dst', SERVER, '--limit', String(FLOWS)];
  for (const format of ['human', 'json']) {
    const commandMs: number[] = [];
    const pings = await pinged(async () => {
      for (let time = 0; time < COMMANDS; time++) {
        const began = performance.now();
        const listed = await bench.homeward(...command, ...(format === 'json' ? ['--json'] : []));
        commandMs.push(Math.round(performance.now() - began));
        const count =
          format === 'json'
            ? (JSON.parse(listed) as { flows: unknown[] }).flows.length
            : (listed.match(/^\d+ +udp /gm)?.length ?? 0);
        assert.equal(count, FLOWS);
      }
    });
    t.diagnostic(`the command, ${format}, took ${commandMs.join(', ')} ms; pings ${JSON.stringify(pings)}`);
  }
  // What the gateway has not lost the loaded ends of this test may have: those figures are for reading.
  assert.deepEqual(await losses(bench), before);
}

/** What the gateway dropped on the way between the two sites, and how often its data plane had to be started anew. */
async function losses(bench: Bench): Promise<unknown> {
  const { tunnels, devices, dataPlane } = await bench.host.status();
  const concerned = tunnels.filter(({ name }) => ['dc-tun', 'lyon-ic'].includes(name));
  return [concerned.map(({ drops }) => drops), devices.map(({ txErrors }) => txErrors), dataPlane.restarts];
}

it('lets operators see, explain and end flows', { skip, timeout: 120_000 }, async (t) => {
  const bench = await Bench.start(t, [ECHO_PORT, 20_000, 20_001]);
  await t.test('lists, shows, explains and ends flows', () => operatesOnFlows(bench));
  await t.test('lists 10,000 flows while it forwards', (inner) => listsManyFlows(bench, inner));
  await t.test('lists routes, and says where an address leads', () => tellsRoutes(bench));
});
