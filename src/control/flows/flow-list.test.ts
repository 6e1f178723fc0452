/** Flows listed from a mapped file, made by the real pipeline. */
import assert from 'node:assert/strict';
import { mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { MemoryGateway, type MemoryGatewayOptions } from '../../../test/support/memory-gateway.ts';
import { echo, tcp, udp } from '../../../test/support/packets.ts';
import { mapFile } from '../../device/native.ts';
import { flowTest } from '../../flow/flow-conditions.ts';
import { flowMemoryBytes } from '../../flow/flow-memory.ts';
import { heldTupleWords } from '../../flow/held-tuples.ts';
import { translationWords } from '../../flow/translation-layout.ts';
import type { LoadedPlugin } from '../../pipeline/plugin-link.ts';
import { PACKET_PASS, VERDICT_ACCEPT, VERDICT_CONTINUE } from '../../plugin/contract.ts';
import { TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from '../../wire/packet.ts';
import { RequestError } from '../request-error.ts';
import { type FlowListQuery, FlowService } from './flow-service.ts';
import type { FlowView } from './flow-view.ts';
import { MappedFlowMemory } from './mapped-flow-memory.ts';

const directory = mkdtempSync(join(tmpdir(), 'homeward-flows-'));
after(() => rmSync(directory, { recursive: true, force: true }));

/** Accepts what goes to port 443, and looks at DNS. */
const judge: LoadedPlugin = {
  name: 'judge',
  phase: 'policy',
  half: {
    flowSetup: (packet, flow) => {
      flow.wantsPackets = packet.destinationPort === 53;
      return packet.destinationPort === 443 ? VERDICT_ACCEPT : VERDICT_CONTINUE;
    },
    packet: () => PACKET_PASS,
  },
};

const OPTIONS: MemoryGatewayOptions = {
  sites: [
    { name: 'paris', prefixes: ['10.0.1.0/24', 'fd00:1::/64'] },
    {
      name: 'lyon',
      prefixes: ['10.0.1.0/24'],
      tunnels: [{ name: 'lyon-a' }, { name: 'lyon-b', automaticReturnRouting: false }],
    },
    { name: 'dc', prefixes: ['10.50.0.0/16'] },
  ],
  egress: [{ name: 'internet', pools: [{ address: '192.0.2.1' }, { address: '2001:db8::1' }] }],
  policyPlugins: [judge],
  maxFlows: 1024,
};

let files = 0;

class Bench {
  readonly gateway: MemoryGateway;
  readonly service: FlowService;
  readonly path = join(directory, `memory-${files++}`);

  constructor(options: MemoryGatewayOptions = OPTIONS) {
    const bytes = flowMemoryBytes({
      capacity: options.maxFlows!,
      translationBytes: translationWords(64 * 4) * 4,
      heldTupleBytes: heldTupleWords(options.maxFlows!) * 4,
      bootId: '00000000-0000-4000-8000-000000000000',
    });
    this.gateway = new MemoryGateway({ ...options, memory: mapFile(this.path, bytes, { create: true }) });
    this.gateway.pass(1);
    const { gateway } = this;
    this.service = new FlowService({
      plan: () => gateway.plan,
      memory: new MappedFlowMemory(this.path),
      flush: async () => 0,
      explain: async (question) => gateway.assembly.explain(question, gateway.nowMs) ?? null,
    });
  }

  async list(query: Partial<FlowListQuery> = {}): Promise<readonly FlowView[]> {
    return (await this.service.list({ limit: 1000, ...query })).flows;
  }

  /** One flow of every kind that the filters tell apart. */
  fill(): void {
    const { gateway } = this;
    const syn = (port: string, from: string, to: string) =>
      gateway.send(port, tcp(from, to, TCP_SYN, { sequence: 100 }));
    syn('paris', '10.0.1.2 4000', '198.51.100.7 443');
    syn('lyon-a', '10.0.1.2 4000', '198.51.100.7 443');
    syn('lyon-b', '10.0.1.3 4001', '10.50.0.9 80');
    gateway.send('paris', udp('10.0.1.2 5000', '10.50.0.53 53'));
    gateway.send('dc', udp('10.50.0.53 53', '10.0.1.2 5000', 'answer'));
    gateway.send('paris', echo('10.0.1.9', '10.50.0.9', 8, 77));
    gateway.send('paris', udp('fd00:1::2 6000', '2001:db8:99::1 7000'));
  }
}

const tupleText = ({ original }: FlowView): string =>
  `${original.source} ${original.sourcePort} > ${original.destination} ${original.destinationPort}`;

describe('flows listed from the mapped flow memory', () => {
  it('says everything of a flow', async () => {
    const bench = new Bench();
    bench.gateway.send('paris', udp('10.0.1.2 5000', '198.51.100.7 53', 'four'));
    const [{ ageMs, idleMs, expiresInMs, translated, ...flow }] = await bench.list();
    assert.deepEqual(flow, {
      id: 1,
      site: 'paris',
      protocol: 'udp',
      state: 'unanswered',
      tcp: null,
      from: 'paris',
      to: 'internet',
      original: { source: '10.0.1.2', sourcePort: 5000, destination: '198.51.100.7', destinationPort: 53 },
      ingress: 'paris',
      egress: 'internet',
      pin: 'paris',
      automaticReturnRouting: true,
      answered: false,
      vouched: true,
      timeout: 'udp_new',
      originator: { packets: 1, bytes: 32 },
      reply: { packets: 0, bytes: 0 },
      acceptedBy: null,
      inspectedBy: ['judge'],
      planGeneration: 1,
    });
    assert.deepEqual(
      [translated?.source, translated?.destination, translated?.destinationPort],
      ['192.0.2.1', '198.51.100.7', 53],
    );
    const { sourcePort } = translated!;
    assert.ok(sourcePort >= 1024);
    assert.ok(ageMs >= 0 && idleMs >= 0 && expiresInMs <= 120_000);
    bench.gateway.send('internet', udp('198.51.100.7 53', `192.0.2.1 ${sourcePort}`, 'answer'));
    const answered = await bench.service.show(1);
    assert.deepEqual(
      [answered.state, answered.timeout, answered.reply],
      ['answered', 'udp_answered', { packets: 1, bytes: 34 }],
    );
  });

  const FILTERS: [query: Partial<FlowListQuery>, flows: string[]][] = [
    [{ tunnel: 'lyon-a' }, ['10.0.1.2 4000 > 198.51.100.7 443']],
    [{ tunnel: 'internet', site: 'lyon' }, ['10.0.1.2 4000 > 198.51.100.7 443']],
    [{ site: 'lyon' }, ['10.0.1.2 4000 > 198.51.100.7 443', '10.0.1.3 4001 > 10.50.0.9 80']],
    [{ site: 'dc', protocol: 'icmp' }, ['10.0.1.9 77 > 10.50.0.9 0']],
    [{ address: '10.50.0.9' }, ['10.0.1.3 4001 > 10.50.0.9 80', '10.0.1.9 77 > 10.50.0.9 0']],
    [{ address: '2001:db8::/48' }, ['fd00:1::2 6000 > 2001:db8:99::1 7000']],
    [{ address: '192.0.2.1', site: 'paris' }, ['10.0.1.2 4000 > 198.51.100.7 443']],
    [{ source: '10.0.1.3/32' }, ['10.0.1.3 4001 > 10.50.0.9 80']],
    [{ destination: '10.50.0.32/27' }, ['10.0.1.2 5000 > 10.50.0.53 53']],
    [{ source: '10.50.0.0/16' }, []],
    [{ port: 53 }, ['10.0.1.2 5000 > 10.50.0.53 53']],
    [{ port: 77 }, ['10.0.1.9 77 > 10.50.0.9 0']],
    [{ sourcePort: 4001 }, ['10.0.1.3 4001 > 10.50.0.9 80']],
    [{ destinationPort: 4001 }, []],
    [{ protocol: '17', address: '0.0.0.0/0' }, ['10.0.1.2 5000 > 10.50.0.53 53']],
    [{ state: 'answered' }, ['10.0.1.2 5000 > 10.50.0.53 53']],
    [{ state: 'syn_sent', tunnel: 'lyon-b' }, ['10.0.1.3 4001 > 10.50.0.9 80']],
    [{ verdict: 'accept', site: 'paris' }, ['10.0.1.2 4000 > 198.51.100.7 443']],
    [{ verdict: 'continue', protocol: 'tcp' }, ['10.0.1.3 4001 > 10.50.0.9 80']],
    [{ plugin: 'judge', protocol: 'udp' }, ['10.0.1.2 5000 > 10.50.0.53 53']],
    [{ id: 3 }, ['10.0.1.3 4001 > 10.50.0.9 80']],
    [{ id: 99 }, []],
  ];
  it('filters, and filters together', async () => {
    const bench = new Bench();
    bench.fill();
    assert.equal((await bench.list()).length, 6);
    for (const [query, flows] of FILTERS) {
      assert.deepEqual((await bench.list(query)).map(tupleText), flows, JSON.stringify(query));
      if (query.id !== undefined && flows.length === 0) continue;
      assert.equal(await bench.service.count(query), flows.length, JSON.stringify(query));
    }
    await assert.rejects(bench.service.count({ id: 99 }), { code: 'no_such_flow' });
    await assert.rejects(bench.service.flush({ id: 99 }), { code: 'no_such_flow' });
  });

  it('flushes by the same conditions', async () => {
    const bench = new Bench();
    const { gateway } = bench;
    const service = new FlowService({
      plan: () => gateway.plan,
      memory: new MappedFlowMemory(bench.path),
      flush: async (conditions) => gateway.assembly.flush(flowTest(conditions), gateway.nowMs),
      explain: async () => null,
    });
    bench.fill();
    assert.equal(await service.flush({ site: 'lyon' }), 2);
    assert.deepEqual([...new Set((await bench.list()).map(({ site }) => site))], ['paris']);
    assert.equal(await service.flush({}), 4);
    assert.equal(gateway.flows, 0);
  });

  it('names TCP states', async () => {
    const bench = new Bench();
    const { gateway } = bench;
    const client = '10.0.1.3 4001';
    const server = '10.50.0.9 80';
    const state = async (): Promise<string> => (await bench.list())[0]?.state ?? 'none';
    const states: string[] = [];
    const segment = async (out: boolean, flags: number, sequence: number, acknowledgment: number) => {
      const [port, from, to] = out ? ['paris', client, server] : ['dc', server, client];
      assert.equal(
        gateway.send(port, tcp(from, to, flags, { sequence, acknowledgment, window: 1000 })).length,
        1,
      );
      states.push(await state());
    };
    await segment(true, TCP_SYN, 100, 0);
    await segment(false, TCP_SYN | TCP_ACK, 900, 101);
    await segment(true, TCP_ACK, 101, 901);
    await segment(true, TCP_FIN | TCP_ACK, 101, 901);
    await segment(false, TCP_ACK, 901, 102);
    await segment(false, TCP_FIN | TCP_ACK, 901, 102);
    await segment(true, TCP_ACK, 102, 902);
    assert.deepEqual(states, [
      'syn_sent',
      'syn_received',
      'established',
      'fin_wait',
      'fin_wait',
      'last_ack',
      'time_wait',
    ]);
    gateway.assembly.flush(() => true, gateway.nowMs);
    gateway.pass(300_000);
    states.length = 0;
    await segment(true, TCP_SYN, 100, 0);
    await segment(false, TCP_SYN | TCP_ACK, 900, 101);
    await segment(true, TCP_ACK, 101, 901);
    await segment(false, TCP_FIN | TCP_ACK, 901, 101);
    await segment(true, TCP_RST, 101, 0);
    assert.deepEqual(states.slice(3), ['close_wait', 'reset']);
  });

  it('goes on behind a cursor, and shows every flow once', async () => {
    const bench = new Bench();
    for (let port = 1; port <= 50; port++)
      bench.gateway.send('paris', udp(`10.0.1.2 ${port}`, '10.50.0.9 80'));
    const seen: number[] = [];
    let cursor: string | undefined;
    let pages = 0;
    do {
      const page = await bench.service.list({ limit: 20, cursor });
      assert.deepEqual([page.total, page.capacity], [50, 1024]);
      seen.push(...page.flows.map(({ original }) => original.sourcePort));
      cursor = page.next ?? undefined;
      pages++;
    } while (cursor !== undefined);
    assert.equal(pages, 3);
    assert.deepEqual(
      seen.sort((a, b) => a - b),
      Array.from({ length: 50 }, (_, at) => at + 1),
    );
  });

  it('puts the busiest first', async () => {
    const bench = new Bench();
    for (let port = 1; port <= 5; port++) {
      for (let packets = 0; packets < port; packets++) {
        bench.gateway.send(
          'paris',
          udp(`10.0.1.2 ${port}`, '10.50.0.9 80', 'x'.repeat(port === 2 ? 500 : 1)),
        );
      }
    }
    const ports = async (order: 'bytes' | 'packets'): Promise<number[]> =>
      (await bench.list({ order, limit: 3 })).map(({ original }) => original.sourcePort);
    assert.deepEqual(await ports('packets'), [5, 4, 3]);
    assert.deepEqual(await ports('bytes'), [2, 5, 4]);
  });

  it('refuses what it does not know, by name', async () => {
    const bench = new Bench();
    const refused: [query: Partial<FlowListQuery>, code: string, message: RegExp][] = [
      [{ tunnel: 'lyon-c' }, 'unknown_name', /no tunnel lyon-c; did you mean lyon-a\?/],
      [{ site: 'berlin' }, 'unknown_name', /no site berlin/],
      [{ plugin: 'firewall' }, 'unknown_name', /no plugin firewall/],
      [{ address: '10.0.0.1/8' }, 'bad_address', /host bits/],
      [{ protocol: 'ipx' }, 'bad_protocol', /ipx/],
      [{ cursor: 'x' }, 'bad_cursor', /leave the cursor out/],
      [{ cursor: '1', order: 'bytes' }, 'bad_cursor', /one page/],
    ];
    for (const [query, code, message] of refused) {
      await assert.rejects(bench.list(query), (error) => {
        assert.ok(error instanceof RequestError, String(error));
        assert.equal(error.code, code);
        assert.match(error.message, message);
        return true;
      });
    }
    await assert.rejects(bench.service.show(7), { code: 'no_such_flow' });
  });

  it('follows the file when another takes its place', async () => {
    const bench = new Bench();
    bench.fill();
    assert.equal((await bench.list()).length, 6);
    rmSync(bench.path);
    await assert.rejects(bench.list(), { code: 'no_flow_memory' });
    const again = new Bench();
    again.gateway.send('dc', udp('10.50.0.9 1', '198.51.100.9 2'));
    renameSync(again.path, bench.path);
    assert.deepEqual(
      (await bench.list()).map(({ site }) => site),
      ['dc'],
    );
  });

  it('explains by name, and says what is missing', async () => {
    const bench = new Bench();
    bench.fill();
    const packet = { fromTunnel: 'lyon-a', source: '10.0.1.9', destination: '10.50.0.9' };
    const { verdict, to, steps } = await bench.service.explain(packet);
    assert.deepEqual([verdict, to], ['forward', 'dc']);
    // What is not given: a client's port, and HTTPS.
    assert.match(steps[0]!.text, /^TCP 10\.0\.1\.9:49152 to 10\.50\.0\.9:443, /);
    const ping = await bench.service.explain({
      fromTunnel: 'paris',
      source: 'fd00:1::9',
      destination: '2001:db8:9::9',
      protocol: 'icmp',
    });
    assert.match(ping.steps[0]!.text, /^ICMPv6 /);
    const tuple = { source: '10.0.1.2', destination: '198.51.100.7' };
    assert.equal((await bench.service.explain({ ...tuple, site: 'lyon' })).from, 'lyon');
    const refused: [query: Parameters<FlowService['explain']>[0], code: string][] = [
      [tuple, 'several_flows'],
      [{ ...tuple, sourcePort: 9 }, 'no_such_flow'],
      [{ flow: 99 }, 'no_such_flow'],
      [{}, 'explain_what'],
      [{ fromTunnel: 'paris', source: '10.0.1.9' }, 'explain_what'],
      [{ ...packet, fromTunnel: 'nice' }, 'unknown_name'],
      [{ ...packet, source: '10.0.1' }, 'bad_address'],
      [{ ...packet, source: 'fd00::1' }, 'bad_address'],
      [{ fromTunnel: 'paris', source: 'fd00::1', destination: 'fd00::2', protocol: '44' }, 'bad_protocol'],
    ];
    for (const [query, code] of refused) {
      await assert.rejects(bench.service.explain(query), { code }, JSON.stringify(query));
    }
  });
});
