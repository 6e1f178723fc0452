/** IPsec tunnels in the plan: a port is up only as the very tunnel that is connected. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { EXAMPLE_FACTS } from '../../../test/fixtures/example-gateway.ts';
import { compile } from '../../../test/support/compile-example.ts';
import type { PlanPort } from '../../pipeline/plan.ts';
import type { IpsecTunnelStatus } from '../../tunnel/ipsec/tunnel-state.ts';
import { ConfigError } from '../config/errors.ts';
import type { HostFacts, IpsecFacts } from '../facts.ts';
import type { Compilation } from './compile.ts';

const REMOTE = '198.51.100.10';
const KEY = `libipsec paris 192.0.2.1 ${REMOTE} gw.example paris.example`;
const UP: IpsecTunnelStatus = { state: 'up', reason: null, sinceMs: 0 };

function text(site = 'paris', keys = '', more = ''): string {
  const ike = '{ local_id: gw.example, remote_id: paris.example, psk: { env: PSK } }';
  return `version: 1
sites:
  - name: ${site}
    tunnels:
      - { name: ips, type: ipsec, local: 192.0.2.1, remote: ${REMOTE}, ike: ${ike}${keys} }
${more}`;
}

function facts(ipsec: Partial<IpsecFacts> = {}, withDevice = true): HostFacts {
  const links: HostFacts['links'] = withDevice
    ? { ...EXAMPLE_FACTS.links, ips: { ifindex: 77, kind: 'tun', mtu: 1400, up: false, addresses: [] } }
    : EXAMPLE_FACTS.links;
  return {
    ...EXAMPLE_FACTS,
    links,
    routes: [{ local: '192.0.2.1', remote: REMOTE, device: 'eth0', nextHop: '192.0.2.254' }],
    ipsec: {
      drivers: { xfrm: { available: false, why: 'no' }, libipsec: { available: true, why: 'yes' } },
      credentials: {},
      running: {},
      ...ipsec,
    },
  };
}

function port({ plan }: Compilation): PlanPort {
  return plan.ports.find(({ name }) => name === 'ips')!;
}

function isUp(compilation: Compilation): boolean {
  return port(compilation).link.device >= 0;
}

const running = (status: IpsecTunnelStatus, key = KEY): Partial<IpsecFacts> => ({
  running: { ips: { key, status } },
});

describe('an ipsec tunnel', () => {
  it('that is connected has its device, by its own name, and is guarded before it is', () => {
    const up = compile(text(), facts(running(UP)));
    assert.ok(isUp(up));
    assert.equal(port(up).mtu, 1400);
    assert.deepEqual(up.problems, []);
    assert.ok(up.plan.gatewayAddresses.includes('192.0.2.1'));
    const before = compile(text(), facts({}, false));
    assert.ok(!isUp(before));
    assert.deepEqual(
      before.host.devices.map(({ name, role, present }) => [name, role, present]),
      [['ips', 'exclusive', false]],
    );
    const [wish] = before.ipsec;
    assert.equal(wish!.key, KEY);
    assert.deepEqual(wish!.path, {
      device: 'eth0',
      mtu: 1500,
      local: '192.0.2.1',
      remote: REMOTE,
      nextHop: '192.0.2.254',
    });
  });

  it('is not up by what runs under its name for another site, or with other ends', () => {
    assert.ok(isUp(compile(text('paris'), facts(running(UP)))));
    assert.ok(!isUp(compile(text('lyon'), facts(running(UP)))));
    assert.ok(
      !isUp(compile(text('paris'), facts(running(UP, KEY.replace('paris.example', 'lyon.example'))))),
    );
  });

  it('is down with the reason of its driver', () => {
    const status: IpsecTunnelStatus = { state: 'down', reason: 'the peer does not answer', sinceMs: 0 };
    const down = compile(text(), facts(running(status)));
    assert.ok(!isUp(down));
    assert.deepEqual(
      down.problems.map(({ text: problem }) => problem),
      ['is down: the peer does not answer'],
    );
    assert.equal(down.ipsec.length, 1);
  });

  it('does not take what somebody else has made by its name, nor guard it', () => {
    const foreign = compile(text(), facts());
    assert.deepEqual(
      foreign.problems.map(({ path, text: problem }) => `${path}: ${problem}`),
      [
        "sites.paris.tunnels.ips.name: the interface of this tunnel would be ips, which exists and is somebody else's; remove it, or write another name",
      ],
    );
    assert.deepEqual([foreign.ipsec, foreign.host.devices.filter(({ name }) => name === 'ips')], [[], []]);
    const wireguard = { ifindex: 77, kind: 'layer3', mtu: 1420, up: true, addresses: [] } as const;
    const up = facts(running(UP));
    assert.ok(!isUp(compile(text(), { ...up, links: { ...up.links, ips: wireguard } })));
    // A check beside a gateway cannot know whose it is.
    assert.deepEqual(compile(text(), facts({ running: undefined })).problems, []);
  });

  it('that is disabled does not run', () => {
    assert.deepEqual(compile(text('paris', ', enabled: false'), facts()).ipsec, []);
  });

  it('names what is wrong with its secret once, and runs to see it put right', () => {
    const wrong = compile(
      text(),
      facts({
        credentials: { ips: 'the environment has no PSK; set it' },
        ...running({ ...UP, state: 'down', reason: 'the same' }),
      }),
    );
    assert.deepEqual(
      wrong.problems.map(({ path, text: problem }) => `${path}: ${problem}`),
      ['sites.paris.tunnels.ips.ike: the environment has no PSK; set it'],
    );
    assert.equal(wrong.ipsec.length, 1);
  });

  it('with the ends of another one is refused', () => {
    const other = `      - { name: other, type: ipsec, local: 192.0.2.1, remote: ${REMOTE}, ike: { local_id: gw.example, remote_id: b, psk: { env: PSK } } }\n`;
    assert.throws(
      () => compile(text('paris', '', other), facts()),
      (error) => error instanceof ConfigError && /is the other end of ips as well/.test(error.message),
    );
    // Beside one that is disabled it may stand, in either order.
    const alone = compile(text('paris', ', enabled: false', other), facts({}, false));
    assert.deepEqual(
      alone.ipsec.map(({ tunnel }) => tunnel.name),
      ['other'],
    );
    const disabled = other.replace(/ }\n$/, ', enabled: false }\n');
    assert.equal(compile(text('paris', '', disabled), facts({}, false)).ipsec.length, 1);
  });

  it('has the IKE ports of its address for itself', () => {
    const egress = (keys: string): string =>
      `egress:\n  - { name: internet, type: internet, device: eth0, ${keys} }\n`;
    const forward = (protocol: string, port: number): string =>
      egress(
        `port_forwards: [ { protocol: ${protocol}, port: ${port}, to: { site: paris, address: 10.0.1.20, port: 53 } } ]`,
      );
    const compiled = (keys: string, more: string): (() => Compilation) => {
      const config = text('paris', keys, more).replace('tunnels:', 'prefixes: [10.0.1.0/24]\n    tunnels:');
      return () => compile(config, facts());
    };
    const wide = egress('reserved_ports: 2048-8191');
    assert.throws(compiled('', wide), /2048-8191 has port 4500, which tunnel ips needs on 192\.0\.2\.1/);
    assert.throws(compiled('', forward('udp', 500)), /tunnel ips needs UDP port 500 of 192\.0\.2\.1/);
    compiled('', forward('tcp', 500))();
    compiled('', forward('udp', 501))();
    compiled(', enabled: false', wide)();
  });

  it('without a driver is down, and says what to install', () => {
    const drivers = {
      xfrm: { available: false, why: 'no' },
      libipsec: { available: false, why: 'the plugin is missing' },
    };
    const none = compile(text(), facts({ drivers }));
    assert.ok(!isUp(none));
    assert.deepEqual(none.ipsec, []);
    assert.match(none.problems[0]!.text, /the plugin is missing/);
  });
});
