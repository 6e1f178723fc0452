/**
 * Devices that are made anew, renamed, moved, readdressed or taken by somebody else while homeward runs: the host's stack
 * never has a packet of a site, neither while nobody follows what happens (control stands still) nor afterwards. And
 * each time traffic goes on when all is as it was.
 */
import assert from 'node:assert/strict';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { type TestContext, test } from 'node:test';
import { DaemonHost } from '../support/daemon-host.ts';
import { NetworkNamespace } from '../support/network-namespace.ts';
import { eventually } from '../support/patience.ts';

const MAC = '02:00:00:00:00:01';
/** What the host must never have, from whatever device: the site's datagrams have this port. */
const OBSERVER = `
  table inet observer {
    counter passed { }
    counter answered { }
    chain before { type filter hook prerouting priority -400; udp dport 9 counter name passed
    }
    chain input { type filter hook input priority 0; udp dport 9 counter name passed
    }
    chain forward { type filter hook forward priority -500; udp dport 9 counter name passed
    }
    chain output { type filter hook output priority 400; udp sport 9 counter name answered
    }
  }
`;
const SEND = `
  const dgram = require('node:dgram');
  const [v4, v6] = ['udp4', 'udp6'].map((type) => dgram.createSocket(type));
  const to = [
    ...['192.0.2.1', '198.51.100.7', '172.20.0.1', '172.20.0.9'].map((address) => [v4, address]),
    ...['2001:db8:5::1', 'fd00:20::9'].map((address) => [v6, address]),
  ];
  let sent = 0;
  for (const [socket, address] of to)
    socket.send('x', 9, address, () => { if (++sent === to.length) { v4.close(); v6.close(); } });
`;
const DATAGRAMS = 6;

class Line {
  readonly host: DaemonHost;
  readonly site = new NetworkNamespace();
  readonly elsewhere = new NetworkNamespace();
  daemon: ChildProcessWithoutNullStreams;

  constructor(t: TestContext) {
    this.host = new DaemonHost(t);
    t.after(() => this.site.remove());
    t.after(() => this.elsewhere.remove());
    this.host.namespace.ip('link del ic0', 'address add fd00:20::9/64 dev up0');
    this.host.namespace.exec('sysctl', ['-qw', 'net.ipv6.conf.all.forwarding=1']);
    this.host.namespace.nft(OBSERVER);
    this.connect('ic0');
    this.daemon = this.host.start();
  }

  /** A new line to the site, whose end here has this name. */
  connect(name: string): void {
    this.host.namespace.ip(
      `link add ${name} address ${MAC} type veth peer name ic1 netns ${this.site.name}`,
      `link set ${name} up`,
    );
    this.site.ip(
      'address add 172.20.0.2/30 dev ic1',
      'address add fd00:20::2/64 dev ic1 nodad',
      'link set ic1 up',
    );
    this.direct(MAC);
  }

  /** The site sends everything to this MAC. */
  direct(mac: string): void {
    this.site.ip(
      'route replace default via 172.20.0.1',
      'route replace default via fd00:20::1',
      `neigh replace 172.20.0.1 lladdr ${mac} dev ic1 nud permanent`,
      `neigh replace fd00:20::1 lladdr ${mac} dev ic1 nud permanent`,
      `neigh replace fd00:20::9 lladdr ${mac} dev ic1 nud permanent`,
    );
  }

  disconnect(): void {
    this.site.ip('link del ic1');
  }

  #count(counter: string): number {
    const listed = this.host.namespace.exec('nft', ['list', 'counter', 'inet', 'observer', counter]);
    return Number(/packets (\d+)/.exec(listed)![1]);
  }

  #received(device: string): number {
    const [link] = JSON.parse(this.host.namespace.exec('ip', ['-json', '-s', 'link', 'show', device]));
    return link.stats64.rx.packets;
  }

  /** The site sends, and all of it arrives at this device of the host, whose stack has none of it. */
  async sees(what: string, device: string): Promise<void> {
    const before = this.#received(device);
    this.site.exec(process.execPath, ['-e', SEND]);
    await eventually(`${what}: the datagrams arrive`, () => this.#received(device) >= before + DATAGRAMS);
    assert.equal(this.#count('passed'), 0, `${what}: the host had packets of the site`);
    assert.equal(this.#count('answered'), 0, what);
  }

  /** The host answers nobody who asks for its own addresses. */
  async asks(what: string): Promise<void> {
    this.site.ip('route replace 192.0.2.1/32 dev ic1');
    await this.site.attempt('ping', ['-c', '1', '-W', '1', '192.0.2.1']);
    const known = this.site.exec('ip', ['neigh', 'show', '192.0.2.1', 'dev', 'ic1']);
    assert.doesNotMatch(known, /lladdr/, `${what}: the host answers ARP`);
    this.site.ip('route del 192.0.2.1/32 dev ic1');
    await this.site.attempt('ip', ['neigh', 'flush', 'to', '192.0.2.1']);
  }

  async state(): Promise<string | undefined> {
    const { tunnels } = await this.host.status();
    return tunnels.find(({ name }) => name === 'lyon-ic')?.state;
  }

  async until(what: string, state: string): Promise<void> {
    await eventually(`${what}: lyon-ic is ${state}`, async () => (await this.state()) === state);
  }
}

/** What happens to the device, what it is called then, whether the tunnel is up with it, and how it is undone. */
const EVENTS: readonly (readonly [
  what: string,
  happens: (line: Line) => void,
  name: string,
  state: 'up' | 'down',
  undo: (line: Line) => void,
])[] = [
  [
    'it is made anew',
    (line) => {
      line.disconnect();
      line.connect('ic0');
    },
    'ic0',
    'up',
    () => {},
  ],
  [
    'another one gets its name',
    (line) => {
      line.disconnect();
      line.connect('ic9');
      line.host.namespace.ip('link set ic9 down', 'link set ic9 name ic0', 'link set ic0 up');
    },
    'ic0',
    'up',
    () => {},
  ],
  [
    'it moves to another namespace and comes back',
    ({ host, elsewhere }) => {
      host.namespace.ip(`link set ic0 netns ${elsewhere.name}`);
      elsewhere.ip(`link set ic0 netns ${host.namespace.name}`);
      host.namespace.ip('link set ic0 up');
    },
    'ic0',
    'up',
    () => {},
  ],
  [
    'it gets another MAC',
    (line) => {
      line.host.namespace.ip('link set ic0 address 02:00:00:00:00:77');
      line.direct('02:00:00:00:00:77');
    },
    'ic0',
    'up',
    (line) => {
      line.host.namespace.ip(`link set ic0 address ${MAC}`);
      line.direct(MAC);
    },
  ],
  [
    'the host gets addresses on it',
    ({ host }) => {
      host.namespace.exec('sysctl', ['-qw', 'net.ipv6.conf.ic0.disable_ipv6=0']);
      host.namespace.ip('address add 172.20.0.9/29 dev ic0', 'address add fd00:20::1/64 dev ic0 nodad');
    },
    'ic0',
    'down',
    ({ host }) => {
      host.namespace.exec('sh', [
        '-c',
        'ip address flush dev ic0; sysctl -qw net.ipv6.conf.ic0.disable_ipv6=1',
      ]);
    },
  ],
  [
    'the host takes back what homeward has set',
    ({ host }) => {
      for (const setting of [
        'ipv4.conf.ic0.forwarding=1',
        'ipv4.conf.ic0.rp_filter=0',
        'ipv6.conf.ic0.disable_ipv6=0',
      ])
        host.namespace.exec('sysctl', ['-qw', `net.${setting}`]);
      host.namespace.ip('link set ic0 arp on', 'link set ic0 down', 'link set ic0 up');
    },
    'ic0',
    'up',
    () => {},
  ],
  [
    'it becomes a port of a bridge that has an address',
    ({ host }) => {
      host.namespace.ip(
        `link add br0 address ${MAC} type bridge`,
        'address add 172.20.0.9/29 dev br0',
        'link set br0 up',
        'link set ic0 master br0',
      );
    },
    'ic0',
    'down',
    ({ host }) => host.namespace.ip('link set ic0 nomaster', 'link del br0'),
  ],
  [
    'it gets another name',
    ({ host }) => host.namespace.ip('link set ic0 down', 'link set ic0 name ic9', 'link set ic9 up'),
    'ic9',
    'down',
    ({ host }) => host.namespace.ip('link set ic9 down', 'link set ic9 name ic0', 'link set ic0 up'),
  ],
];

test('whatever becomes of its device, the host never has a packet of a site', async (t) => {
  const line = new Line(t);
  await line.host.forwarding();
  await line.until('at first', 'up');
  await line.sees('at first', 'ic0');
  for (const [what, happens, name, state, undo] of EVENTS) {
    await t.test(what, async () => {
      line.daemon.kill('SIGSTOP');
      t.after(() => line.daemon.kill('SIGCONT'));
      happens(line);
      await line.sees(`${what}, and nobody follows`, name);
      await line.asks(`${what}, and nobody follows`);
      line.daemon.kill('SIGCONT');
      await line.until(what, state);
      await line.sees(what, name);
      await line.asks(what);
      undo(line);
      await line.until(`${what}, and that is over`, 'up');
      await line.sees(`${what}, and that is over`, 'ic0');
      assert.equal(line.host.sysctl('net.ipv4.conf.ic0.forwarding'), '0');
      assert.equal(line.host.sysctl('net.ipv4.conf.ic0.rp_filter'), '1');
      assert.equal(line.host.sysctl('net.ipv6.conf.ic0.disable_ipv6'), '1');
    });
  }
  assert.equal(await line.host.end(line.daemon, 'SIGINT'), 0);
});
