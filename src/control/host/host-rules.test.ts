/**
 * What the host's firewall is judged to do with GRE, from rules that `nft` has set; and that a kernel agrees
 * wherever they are judged to let it pass.
 */
import assert from 'node:assert/strict';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { execFileSync, spawn } from 'node:child_process';
import { after, before, test } from 'node:test';
import { linesOf, NetworkNamespace } from '../../../test/support/network-namespace.ts';
import { inOwnNamespace } from '../../../test/support/own-namespace.ts';
import { dropperOf, type OuterPacket } from '../compile/host-rules.ts';
import { collectHostRules } from './collect-host-rules.ts';

const LOCAL = '192.0.2.1';
const REMOTE = '192.0.2.9';
const GRE = { number: 47, name: 'gre' };
const IN: OuterPacket = { direction: 'in', protocol: GRE, source: REMOTE, destination: LOCAL, device: 'up0' };
const OUT: OuterPacket = {
  direction: 'out',
  protocol: GRE,
  source: LOCAL,
  destination: REMOTE,
  device: 'up0',
};

/** Rules of an input chain with policy drop. */
const closed = (rules: string): string => chain(rules, 'drop');
const open = (rules: string): string => chain(rules, 'accept');

function chain(rules: string, policy: string): string {
  return `table inet filter {
    set friends { type ipv4_addr; elements = { ${REMOTE} } }
    chain tunnels { ip saddr ${REMOTE} accept; }
    chain strict { ip saddr 203.0.113.0/24 return; drop; }
    chain input { type filter hook input priority 0; policy ${policy}; ${rules}; }
  }`;
}

/** Rules, and whether the tunnel's packets pass for sure. */
const CASES: readonly (readonly [rules: string, passes: boolean])[] = [
  ['', true],
  [open(''), true],
  [open('ct state invalid drop'), true],
  [open('tcp dport 22 drop; meta l4proto icmp drop; ip6 saddr ::/0 drop; iifname "other0" drop'), true],
  [open('iifname "up*" meta l4proto 47 drop'), false],
  [open('meta l4proto != { tcp, udp } reject'), false],
  [open(`ip saddr 192.0.2.0/24 drop`), false],
  [open(`ip saddr { 198.51.100.1, 192.0.2.5-192.0.2.20 } drop`), false],
  [open(`ip saddr { 198.51.100.1, 192.0.2.10-192.0.2.20 } drop`), true],
  [open('ip saddr @friends drop'), false],
  [open('limit rate over 100/second drop'), false],
  [open('goto strict'), false],
  [open('ip protocol gre accept; drop'), true],
  [open('ip protocol gre accept; jump strict'), true],
  [open('ct state vmap { established : accept, invalid : drop }'), true],
  [open('iifname vmap { "lo" : accept, "up0" : jump strict }'), false],
  [closed(''), false],
  [closed('tcp dport 22 accept; ct state established,related accept'), false],
  [closed('ip saddr @friends meta l4proto gre accept'), false],
  [closed(`ip saddr ${REMOTE} meta l4proto gre accept`), true],
  [closed(`ip saddr 192.0.2.8 meta l4proto gre accept`), false],
  [closed('ip protocol { esp, gre } counter accept'), true],
  [closed('meta nfproto ipv4 iif "up0" jump tunnels'), true],
  [closed('meta l4proto gre limit rate 10/second accept'), false],
  [
    'table ip raw { chain pre { type filter hook prerouting priority raw; policy accept; meta l4proto gre drop; }; }',
    false,
  ],
  ['table ip6 filter { chain input { type filter hook input priority 0; policy drop; }; }', true],
  ['table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }', true],
];

/** GRE packets that the host's stack delivers: a line each. */
const RECEIVE = `
import socket
receiver = socket.socket(socket.AF_INET, socket.SOCK_RAW, 47)
print('ready', flush=True)
while True:
    print(receiver.recvfrom(65536)[1][0], flush=True)
`;
/** A GRE packet for every line. */
const SEND = `
import socket, sys
sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, 47)
for line in sys.stdin:
    sender.sendto(bytes([0, 0, 8, 0]) + bytes(40), ('${LOCAL}', 0))
`;

if (inOwnNamespace(import.meta.url)) {
  let peer: NetworkNamespace;
  let receiver: ChildProcessWithoutNullStreams;
  let sender: ChildProcessWithoutNullStreams;
  let received: AsyncIterator<string>;

  before(async () => {
    peer = new NetworkNamespace();
    const commands = [
      'link set lo up',
      `link add up0 type veth peer name up0 netns ${peer.name}`,
      `address add ${LOCAL}/24 dev up0`,
      'link set up0 up',
    ];
    execFileSync('ip', ['-batch', '-'], { input: `${commands.join('\n')}\n` });
    peer.ip(`address add ${REMOTE}/24 dev up0`, 'link set up0 up');
    receiver = spawn('python3', ['-c', RECEIVE]);
    received = linesOf(receiver);
    await received.next();
    sender = peer.spawn('python3', ['-c', SEND]);
  });
  after(async () => {
    receiver?.kill();
    await peer?.remove();
  });

  const nft = (rules: string): void => {
    execFileSync('nft', ['-f', '-'], { input: `flush ruleset\n${rules}\n` });
  };

  for (const [rules, passes] of CASES) {
    test(`${passes ? 'passes' : 'may be dropped'}: ${/policy.*/.exec(rules)?.[0] ?? 'no rules'}`, async () => {
      nft(rules);
      const dropper = dropperOf(await collectHostRules(), IN);
      assert.equal(dropper === undefined, passes, dropper);
      if (!passes) return;
      sender.stdin.write('\n');
      assert.equal((await received.next()).value, REMOTE);
    });
  }

  test('names the table and chain, in either direction, and leaves the guard out', async () => {
    nft(closed(''));
    assert.equal(dropperOf(await collectHostRules(), IN), 'table inet filter, chain input');
    assert.equal(dropperOf(await collectHostRules(), OUT), undefined);
    nft('table ip t { chain o { type filter hook output priority 0; oifname "up0" drop; }; }');
    assert.equal(dropperOf(await collectHostRules(), IN), undefined);
    assert.equal(dropperOf(await collectHostRules(), OUT), 'table ip t, chain o');
    nft('table inet homeward { chain i { type filter hook input priority 0; policy drop; }; }');
    assert.equal(dropperOf(await collectHostRules(), IN), undefined);
  });

  test('reads what has changed, and nothing twice', async () => {
    nft(open(''));
    const before = await collectHostRules();
    assert.equal(await collectHostRules(), before);
    nft(closed(''));
    assert.notEqual(await collectHostRules(), before);
  });
}
