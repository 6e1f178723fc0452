/**
 * Sites with the same addresses, and a proxy that answers whatever it has ever seen, sends on for whomever it likes and from wherever it
 * likes, in random order, while flows end, time passes, the proxy goes and comes, and the gateway is started anew: nobody ever gets
 * what is another site's.
 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { LoadedPlugin } from '../../src/pipeline/plugin-link.ts';
import { VERDICT_CONTINUE, VERDICT_DIVERT } from '../../src/plugin/contract.ts';
import { DIVERSION_PROXY, siteSource } from '../../src/plugin/diversion-addresses.ts';
import { type PacketView, TCP_SYN } from '../../src/wire/packet.ts';
import { type Delivered, MemoryGateway, type MemoryGatewayOptions } from '../support/memory-gateway.ts';
import { icmpError, tcp, text, udp } from '../support/packets.ts';
import { Random } from '../support/random.ts';

const SEED = 0x5eed_d1e7;
const STEPS = 3000;
/** So long late packets of a flow may come. */
const LATE_MS = 240_000;
const SITES = ['paris', 'lyon', 'nice'];
const WEB = 'web/0';
const FAMILIES = ['ipv4', 'ipv6'] as const;
const HOSTS = { ipv4: ['10.0.1.10', '10.0.1.11'], ipv6: ['fd00:1::10'] };
const SERVERS = { ipv4: ['203.0.113.10', '10.50.0.10'], ipv6: ['2001:db8:113::10', 'fd00:50::10'] };

const diverter: LoadedPlugin = {
  name: 'web',
  phase: 'policy',
  half: {
    flowSetup: (packet: PacketView) => (packet.destinationPort < 100 ? VERDICT_DIVERT : VERDICT_CONTINUE),
  },
};

function optionsOf(enabled: boolean, memory?: ArrayBuffer): MemoryGatewayOptions {
  return {
    sites: [
      ...SITES.map((name) => ({ name, prefixes: ['10.0.1.0/24', 'fd00:1::/64'] })),
      { name: 'dc', prefixes: ['10.50.0.0/16', 'fd00:50::/64'] },
    ],
    egress: [{ name: 'internet', pools: [{ address: '192.0.2.1' }, { address: '2001:db8::1' }] }],
    diversions: [{ plugin: 'web', tcp: 8080, udp: 5353, enabled }],
    policyPlugins: [diverter],
    maxFlows: 512,
    ...(memory === undefined ? {} : { memory }),
  };
}

/** Everything that is outside of the gateway, and remembers whose everything is. */
class World {
  readonly random = new Random(SEED);
  gateway = new MemoryGateway(optionsOf(true));
  readonly reached = { client: 0, proxy: 0, server: 0, child: 0, dropped: 0 };
  /** What the proxy has seen: its answers to it, whether or not the flow still is. */
  private toProxy: { seen: Delivered; site: string }[] = [];
  /** What servers have got from children. */
  private readonly fromChildren: { seen: Delivered; site: string }[] = [];
  /** By source: whose it was last, and when the proxy heard of it. */
  private readonly sources = new Map<string, { site: string; seenMs: number }>();

  step(): void {
    const { random } = this;
    const family = random.pick(FAMILIES);
    const server = `${random.pick(SERVERS[family])} ${random.pick([53, 80, 443])}`;
    const site = random.pick(SITES);
    const port = 1000 + random.next(6);
    switch (random.next(12)) {
      case 0:
      case 1:
      case 2:
        this.take(site, udp(`${random.pick(HOSTS[family])} ${port}`, server, `from ${site}`));
        break;
      case 3:
      case 4:
        this.answer(this.toProxy, WEB, 'for');
        break;
      case 5:
      case 6: {
        const space = SITES.indexOf(site) + 1;
        this.take(WEB, udp(`${siteSource(space, family)} ${port}`, server, `child of ${site}`));
        break;
      }
      case 7:
        this.answer(this.fromChildren, undefined, 'for child of');
        break;
      case 8: {
        // A site that would be a proxy, and a proxy that would be a host.
        const forged = random.pick([siteSource(1 + random.next(5), family), DIVERSION_PROXY[family]]);
        this.take(site, udp(`${forged} ${port}`, server, `from ${site}`));
        this.take(WEB, udp(`${random.pick(HOSTS[family])} ${port}`, server, 'from nobody'));
        this.take(WEB, tcp(`${DIVERSION_PROXY[family]} 8080`, server, TCP_SYN));
        break;
      }
      case 9:
        this.gateway.pass(random.pick([10, 10, 10, 1000, 1000, 130_000, 400_000]));
        break;
      case 10:
        if (random.next(4) === 0) this.gateway.assembly.flush(() => random.next(3) === 0, this.gateway.nowMs);
        else this.quote();
        break;
      default:
        if (random.next(3) === 0) this.change();
    }
  }

  /** The proxy's kernel says that nobody listens, to anybody of the past. */
  private quote(): void {
    const known = this.toProxy[this.random.next(Math.max(1, this.toProxy.length))];
    if (known === undefined) return;
    const { seen } = known;
    const [type, code] = seen.source.includes(':') ? [1, 4] : [3, 3];
    const error = icmpError(seen.destination, seen.source, type, code, seen.packet);
    for (const { port } of this.gateway.send(WEB, error)) {
      this.reached.client++;
      assert.equal(port, known.site, 'an ICMP error goes to who has sent what it quotes');
    }
  }

  private change(): void {
    const { random } = this;
    const enabled = random.next(3) !== 0;
    if (random.next(6) === 0) {
      const { buffer, nowMs } = this.gateway;
      this.gateway = new MemoryGateway({ ...optionsOf(enabled, buffer), nowMs: nowMs + random.next(1000) });
    } else this.gateway.reconfigure(optionsOf(enabled));
  }

  private answer(
    to: readonly { seen: Delivered; site: string }[],
    by: string | undefined,
    what: string,
  ): void {
    // What was lately is worth more than what is long over.
    const last = this.random.next(3) === 0 ? to.length : Math.min(to.length, 8);
    const known = to[to.length - 1 - this.random.next(Math.max(1, last))];
    if (known === undefined) return;
    const { seen, site } = known;
    const packet = udp(
      `${seen.destination} ${seen.destinationPort}`,
      `${seen.source} ${seen.sourcePort}`,
      `${what} ${site}`,
    );
    this.take(by ?? seen.port, packet);
  }

  private take(port: string, packet: ReturnType<typeof udp>): void {
    const left = this.gateway.send(port, packet);
    if (left.length === 0) this.reached.dropped++;
    for (const one of left) this.judge(one, text(one.payload));
  }

  /** A source is one site's, until nothing late of it can come. Here the numbers begin anew with every start. */
  private note(name: string, site: string): void {
    const { nowMs } = this.gateway;
    const former = this.sources.get(name);
    this.sources.set(name, { site, seenMs: nowMs });
    if (former === undefined || former.site === site) return;
    assert.ok(
      nowMs - former.seenMs >= LATE_MS,
      `${name} was ${former.site}'s ${nowMs - former.seenMs} ms ago`,
    );
    this.toProxy = this.toProxy.filter(({ seen }) => `${seen.source} ${seen.sourcePort}` !== name);
  }

  private judge(one: Delivered, said: string): void {
    const { port, source, sourcePort, destination } = one;
    // An ICMP error of the gateway's own tells a sender of what it has sent.
    if (one.view.icmpKind !== 0) return;
    if (SITES.includes(port)) {
      this.reached.client++;
      assert.equal(said, `for ${port}`);
      return;
    }
    if (port !== WEB) {
      const site = /^child of (.*)$/.exec(said)?.[1];
      if (site !== undefined) {
        this.reached.server++;
        this.fromChildren.push({ seen: one, site });
      } else assert.match(said, /^from (paris|lyon|nice)$/, 'nothing out of a proxy but what it has sent on');
      return;
    }
    const isForProxy = Object.values(DIVERSION_PROXY).includes(destination as never);
    if (isForProxy) {
      const site = /^from (.*)$/.exec(said)?.[1] ?? '';
      assert.ok(SITES.includes(site), said);
      this.reached.proxy++;
      this.note(`${source} ${sourcePort}`, site);
      this.toProxy.push({ seen: one, site });
      return;
    }
    const site = /^for child of (.*)$/.exec(said)?.[1] ?? '';
    this.reached.child++;
    const family = destination.includes(':') ? 'ipv6' : 'ipv4';
    assert.equal(destination, siteSource(SITES.indexOf(site) + 1, family), said);
  }
}

it('flows and answers of sites behind one proxy never cross', () => {
  const world = new World();
  for (let step = 0; step < STEPS; step++) {
    try {
      world.step();
    } catch (error) {
      (error as Error).message += ` (step ${step}, seed ${SEED})`;
      throw error;
    }
  }
  // A test that reaches little shows little.
  for (const [what, count] of Object.entries(world.reached)) assert.ok(count > 50, `${what}: ${count}`);
});
