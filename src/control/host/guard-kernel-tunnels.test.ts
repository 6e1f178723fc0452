/** Outer packets of the kernel's tunnels: by their uplink only, and only while the tunnel's interface takes them. */
import assert from 'node:assert/strict';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { after, before, test } from 'node:test';
import { UPLINK } from '../../../test/fixtures/classifier-cases.ts';
import { linesOf, NetworkNamespace } from '../../../test/support/network-namespace.ts';
import type { ExclusiveDevice, KernelTunnel } from '../compile/host-setup.ts';
import { guardRules } from './guard-rules.ts';

/** GRE packets that the host's stack delivers: `SOURCE LENGTH`, a line each. */
const RECEIVE = `
import socket, sys, selectors
wait = selectors.DefaultSelector()
for family in (socket.AF_INET, socket.AF_INET6):
    wait.register(socket.socket(family, socket.SOCK_RAW, 47), selectors.EVENT_READ)
print('ready', flush=True)
while True:
    for key, _ in wait.select():
        data, source = key.fileobj.recvfrom(65536)
        print(source[0], len(data), flush=True)
`;
/** For every line `SOURCE DESTINATION LENGTH`: a GRE packet, in fragments where the path is too narrow. */
const SEND = `
import socket, sys
for line in sys.stdin:
    source, destination, length = line.split()
    sender = socket.socket(socket.AF_INET6 if ':' in source else socket.AF_INET, socket.SOCK_RAW, 47)
    sender.bind((source, 0))
    sender.sendto(bytes([0, 0, 8, 0]) + bytes(int(length) - 4), (destination, 0))
`;
/** Bytes behind the outer header: of a whole packet, of one that goes in fragments, of the last one. */
const [WHOLE, FRAGMENTED, LAST] = [100, 4000, 50];

/** By IP version: the gateway, the tunnel's other end, and another one that has no tunnel. */
const ENDS = {
  4: { local: '192.0.2.1', remote: '192.0.2.9', fence: '192.0.2.10' },
  6: { local: '2001:db8::1', remote: '2001:db8::9', fence: '2001:db8::10' },
} as const;

let gateway: NetworkNamespace;
let peer: NetworkNamespace;
let sender: ChildProcessWithoutNullStreams;
let received: AsyncIterator<string>;

before(async () => {
  gateway = new NetworkNamespace();
  peer = new NetworkNamespace();
  gateway.ip(
    'link set lo up',
    `link add up0 type veth peer name up0 netns ${peer.name}`,
    'address add 192.0.2.1/24 dev up0',
    'address add 2001:db8::1/64 dev up0 nodad',
    'link set up0 up',
  );
  peer.ip(
    'address add 192.0.2.9/24 dev up0',
    'address add 192.0.2.10/24 dev up0',
    'address add 2001:db8::9/64 dev up0 nodad',
    'address add 2001:db8::10/64 dev up0 nodad',
    'link set up0 up',
  );
  received = linesOf(gateway.spawn('python3', ['-c', RECEIVE]));
  await received.next();
  sender = peer.spawn('python3', ['-c', SEND]);
});

after(async () => {
  for (const namespace of [gateway, peer]) await namespace?.remove();
});

function device(version: 4 | 6, underlay: string | null, isUp: boolean): ExclusiveDevice {
  const { local, remote } = ENDS[version];
  const kind = version === 4 ? 'gre' : 'ip6gre';
  const made: KernelTunnel = {
    link: { kind, local, remote, key: null, checksum: false, sequence: false, ttl: 64 },
    underlay,
    isUp,
    requestId: null,
  };
  const common = { role: 'exclusive', kind: 'ip', index: 0, name: 'paris-gre', mtu: 1476 } as const;
  return { ...common, ifindex: 9, tunnel: 'paris-gre', present: true, made };
}

/** Whether the host's stack gets GRE from the tunnel's other end, whole and in fragments. */
async function delivered(version: 4 | 6): Promise<{ whole: boolean; fragments: boolean }> {
  const { local, remote, fence } = ENDS[version];
  const packets = [
    `${remote} ${local} ${WHOLE}`,
    `${remote} ${local} ${FRAGMENTED}`,
    `${fence} ${local} ${LAST}`,
  ];
  sender.stdin.write(`${packets.join('\n')}\n`);
  // A raw IPv4 socket shows the outer header, too.
  const header = version === 4 ? 20 : 0;
  const seen = new Set<string>();
  while (!seen.has(`${fence} ${LAST + header}`)) seen.add((await received.next()).value as string);
  return {
    whole: seen.has(`${remote} ${WHOLE + header}`),
    fragments: seen.has(`${remote} ${FRAGMENTED + header}`),
  };
}

for (const version of [4, 6] as const) {
  test(`IPv${version}: the kernel gets a tunnel's packets from its uplink while its interface is up`, async () => {
    const rules = (underlay: string | null, isUp: boolean) =>
      gateway.nft(guardRules({ devices: [device(version, underlay, isUp)] }, new Set(), 'test'));
    rules('up0', true);
    assert.deepEqual(await delivered(version), { whole: true, fragments: true });
    rules('other0', true);
    assert.deepEqual(await delivered(version), { whole: false, fragments: false });
    rules('up0', false);
    assert.deepEqual(await delivered(version), { whole: false, fragments: false });
    rules(null, true);
    assert.deepEqual(await delivered(version), { whole: false, fragments: false });
  });
}

test('with GRE over IPv6 the host says of no packet that it is too big', () => {
  const rulesOf = (version: 4 | 6) =>
    guardRules({ devices: [device(version, 'up0', true)] }, new Set(), 'test');
  assert.match(rulesOf(6), /^ {4}icmpv6 type packet-too-big drop$/m);
  assert.doesNotMatch(rulesOf(4), /packet-too-big/);
});

test('an uplink that an egress shares changes nothing of that', async () => {
  const uplink = { ...UPLINK, index: 1, gre: [], poolAddresses: ['203.0.113.7'], sharedAddresses: [] };
  const rules = (underlay: string, isUp: boolean) =>
    gateway.nft(guardRules({ devices: [device(4, underlay, isUp), uplink] }, new Set([uplink.name]), 'test'));
  rules('up0', true);
  assert.deepEqual(await delivered(4), { whole: true, fragments: true });
  rules('other0', true);
  assert.deepEqual(await delivered(4), { whole: false, fragments: false });
  rules('up0', false);
  assert.deepEqual(await delivered(4), { whole: false, fragments: false });
});

test('what has the mark of something decrypted is not delivered, while there are SAs', async (t) => {
  gateway.nft(`table netdev marks {
    chain up0 { type filter hook ingress device "up0" priority -500; ip saddr 192.0.2.9 meta mark set 0x68000007; }
  }`);
  t.after(() => gateway.nft('delete table netdev marks'));
  const rules = (made: KernelTunnel) =>
    gateway.nft(
      guardRules(
        {
          devices: [
            { ...device(6, 'up0', true), made },
            { ...UPLINK, index: 1, gre: [], besideSas: true },
          ],
        },
        new Set(['up0']),
        'test',
      ),
    );
  const clear = device(6, 'up0', true).made!;
  rules(clear);
  assert.deepEqual(await delivered(4), { whole: true, fragments: true });
  rules({ ...clear, link: { kind: 'xfrm', interfaceId: 7 } });
  assert.deepEqual(await delivered(4), { whole: false, fragments: false });
});

test('GRE that passes within ESP only is dropped in clear text, in either direction', () => {
  const one = device(4, 'up0', true);
  const rulesOf = (requestId: number | null) =>
    guardRules({ devices: [{ ...one, made: { ...one.made!, requestId } }] }, new Set(), 'test');
  const protectedRules = rulesOf(0x68000007);
  assert.match(
    protectedRules,
    /^ {4}ip saddr 192\.0\.2\.9 ip daddr 192\.0\.2\.1 meta l4proto gre meta secpath missing drop /m,
  );
  assert.match(
    protectedRules,
    /^ {4}ip saddr 192\.0\.2\.1 ip daddr 192\.0\.2\.9 meta l4proto gre rt ipsec missing drop /m,
  );
  assert.doesNotMatch(rulesOf(null), /secpath|ipsec|mark/);
});

test("GRE that passes within ESP passes within its own tunnel's only, in either direction", () => {
  const one = device(6, 'up0', true);
  const made = { ...one.made!, requestId: 0x68000007 };
  const rules = guardRules({ devices: [{ ...one, made }] }, new Set(), 'test');
  const from = 'ip6 saddr 2001:db8::9 ip6 daddr 2001:db8::1 meta l4proto gre';
  const to = 'ip6 saddr 2001:db8::1 ip6 daddr 2001:db8::9 meta l4proto gre';
  assert.match(rules, new RegExp(`^ {4}${from} ipsec in reqid != 1744830471 drop `, 'm'));
  assert.match(rules, new RegExp(`^ {4}${to} ipsec out reqid != 1744830471 drop `, 'm'));
  const decrypted = new RegExp(
    `^ {2}chain decrypted {\n {4}${from} ipsec in reqid 1744830471 accept\n {4}drop .*\n {2}}$`,
    'm',
  );
  assert.match(rules, decrypted);
  assert.match(rules, /^ {4}meta mark & 0xff000000 == 0x68000000 goto decrypted$/m);
});

test('with an XFRM interface the host says nothing of what could not be sent by it', () => {
  const made: KernelTunnel = {
    link: { kind: 'xfrm', interfaceId: 7 },
    underlay: null,
    isUp: true,
    requestId: null,
  };
  const rules = guardRules({ devices: [{ ...device(4, null, true), made }] }, new Set(), 'test');
  assert.match(rules, /oifname != "lo" icmp type destination-unreachable icmp code host-unreachable drop/);
  assert.match(rules, /^ {4}icmpv6 type packet-too-big drop$/m);
  assert.doesNotMatch(rules, /meta l4proto gre/);
});
