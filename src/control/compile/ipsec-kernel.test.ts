/** IPsec by the kernel in the plan: an interface is made first, and nothing is wished for without it. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { EXAMPLE_FACTS } from '../../../test/fixtures/example-gateway.ts';
import { compile } from '../../../test/support/compile-example.ts';
import { isOwnId } from '../../tunnel/ipsec/kernel-host.ts';
import type { IpsecTunnelStatus } from '../../tunnel/ipsec/tunnel-state.ts';
import type { HostFacts, LinkFacts, RunningIpsecTunnel } from '../facts.ts';
import type { Compilation } from './compile.ts';
import type { ExclusiveDevice } from './host-setup.ts';

const REMOTE = '198.51.100.10';
const IKE = '{ local_id: gw.example, remote_id: paris.example, psk: { env: PSK } }';
const TUNNEL = `{ name: ips, type: ipsec, local: 192.0.2.1, remote: ${REMOTE}, ike: ${IKE} }`;
const GRE = `{ name: ips, type: gre, local: 192.0.2.1, remote: ${REMOTE}, key: 7, ipsec: { ike: ${IKE} } }`;
const UP: IpsecTunnelStatus = { state: 'up', reason: null, sinceMs: 0 };

function text(tunnel: string, keys = ''): string {
  return `version: 1\nsites:\n  - name: paris\n    tunnels:\n      - ${tunnel.replace(/ }$/, `${keys} }`)}\n`;
}

interface Given {
  readonly links?: Readonly<Record<string, Partial<LinkFacts>>>;
  readonly running?: RunningIpsecTunnel;
  readonly refused?: Readonly<Record<string, string>>;
  readonly available?: boolean;
}

function facts({ links = {}, running, refused = {}, available = true }: Given = {}): HostFacts {
  const layer3: LinkFacts = { ifindex: 77, kind: 'layer3', mtu: 1400, up: true, addresses: [] };
  const more = Object.entries(links).map(([name, link]) => [name, { ...layer3, ...link }]);
  const has = (why: string) => ({ available, why });
  return {
    ...EXAMPLE_FACTS,
    links: { ...EXAMPLE_FACTS.links, ...Object.fromEntries(more) },
    kernelLinks: { gre: has('GRE'), ip6gre: has('GRE'), xfrm: has('XFRM') },
    refusedLinks: refused,
    routes: [{ local: '192.0.2.1', remote: REMOTE, device: 'eth0', nextHop: '192.0.2.254' }],
    ipsec: {
      drivers: { xfrm: has('the kernel has XFRM'), libipsec: { available: true, why: 'strongSwan has ESP' } },
      credentials: {},
      running: running === undefined ? {} : { ips: running },
    },
  };
}

function device({ host }: Compilation): ExclusiveDevice {
  return host.devices.find(({ role }) => role === 'exclusive') as ExclusiveDevice;
}

function isUp({ plan }: Compilation): boolean {
  return plan.ports.find(({ name }) => name === 'ips')!.link.device >= 0;
}

describe('an ipsec tunnel by the kernel', () => {
  const first = compile(text(TUNNEL), facts());
  const made = device(first);
  const interfaceId = made.made?.link.kind === 'xfrm' ? made.made.link.interfaceId : 0;

  it('has an interface made, of the size that ESP leaves, and nothing else before that is up', () => {
    assert.equal(first.drivers.get('ips')?.name, 'xfrm');
    assert.match(made.name, /^ips-[0-9a-z]{6}$/);
    assert.ok(isOwnId(interfaceId));
    assert.equal(made.mtu, 1422);
    assert.equal(device(compile(text(TUNNEL, ', child: { proposals: aes256gcm16 }'), facts())).mtu, 1438);
    assert.equal(device(compile(text(TUNNEL, ', mtu: 1300'), facts())).mtu, 1300);
    const narrow = { ...facts(), routes: facts().routes.map((route) => ({ ...route, mtu: 1400 })) };
    assert.equal(device(compile(text(TUNNEL), narrow)).mtu, 1326);
    assert.deepEqual(first.ipsec, []);
    assert.deepEqual(compile(text(TUNNEL), facts({ links: { [made.name]: { up: false } } })).ipsec, []);
  });

  it('is wished for with the interface, under its number, and up with its SA', () => {
    const links = { [made.name]: { interfaceId } };
    const [wish] = compile(text(TUNNEL), facts({ links })).ipsec;
    assert.equal(wish!.driver, 'xfrm');
    assert.deepEqual(wish!.tunnel.kernel, { requestId: interfaceId, interfaceId });
    assert.equal(wish!.tunnel.protects, 'everything');
    const running = { key: wish!.key, status: UP };
    assert.ok(isUp(compile(text(TUNNEL), facts({ links, running }))));
    assert.ok(!isUp(compile(text(TUNNEL), facts({ running }))));
    // As that of the other driver it is another one.
    assert.ok(!isUp(compile(text(TUNNEL, ', driver: libipsec'), facts({ links, running }))));
  });

  it('has the uplink refuse what was decrypted', () => {
    const uplink = (tunnel: string, more: string): unknown => {
      const { host } = compile(`${text(tunnel)}${more}`, facts());
      return host.devices.flatMap((one) => (one.role === 'shared' ? [one.besideSas] : []));
    };
    const egress = 'egress: [{ name: internet, type: internet, device: eth0 }]\n';
    assert.deepEqual(uplink(TUNNEL, egress), [true]);
    assert.deepEqual(uplink(GRE, egress), [true]);
    assert.deepEqual(uplink(GRE.replace(/, ipsec: .* }$/, ' }'), egress), [undefined]);
  });

  it('is done by strongSwan where the kernel does not', () => {
    const none = compile(text(TUNNEL), facts({ available: false }));
    assert.deepEqual(none.drivers.get('ips'), {
      name: 'libipsec',
      why: 'the kernel has XFRM; strongSwan has ESP',
    });
    const refused = { [made.name]: 'Operation not supported' };
    assert.equal(compile(text(TUNNEL), facts({ refused })).drivers.get('ips')?.name, 'libipsec');
    const wanted = compile(text(TUNNEL, ', driver: xfrm'), facts({ refused }));
    assert.match(wanted.problems[0]!.text, /the kernel does not make ips-.*: Operation not supported/);
  });
});

describe('a GRE tunnel within IPsec', () => {
  it("is the kernel's, smaller, and never in clear text", () => {
    const compiled = compile(text(GRE), facts());
    assert.equal(compiled.drivers.get('ips')?.name, 'kernel');
    const { made, mtu } = device(compiled);
    assert.equal(mtu, 1414);
    assert.ok(isOwnId(made?.requestId ?? 0));
    assert.equal(compiled.plan.ports[0]!.mtu, 1414);
  });

  it('is up with its SA, which protects GRE and has no interface', () => {
    const [wish] = compile(text(GRE), facts()).ipsec;
    assert.equal(wish!.tunnel.protects, 'gre');
    assert.equal(wish!.tunnel.kernel?.interfaceId, null);
    assert.ok(isOwnId(wish!.tunnel.kernel!.requestId));
    assert.ok(!isUp(compile(text(GRE), facts())));
    assert.ok(isUp(compile(text(GRE), facts({ running: { key: wish!.key, status: UP } }))));
  });

  it('is refused where the kernel has no GRE', () => {
    assert.throws(() => compile(text(GRE), facts({ available: false })), /GRE; GRE within IPsec needs it/);
  });
});
