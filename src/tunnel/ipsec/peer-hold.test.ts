/** Peers that are held off are not heard by the host's IKE ports; everybody else is, and all are when they are released. */
import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import { linesOf, NetworkNamespace } from '../../../test/support/network-namespace.ts';
import type { RunTool } from './host-tools.ts';
import { HOLD_TABLE, holdPeers, releasePeers } from './peer-hold.ts';

/** For every datagram to IKE's ports: `SOURCE PORT`. */
const RECEIVE = `
import socket, selectors
wait = selectors.DefaultSelector()
for port in (500, 4500):
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.bind(('::', port))
    wait.register(s, selectors.EVENT_READ, port)
print('ready', flush=True)
while True:
    for key, _ in wait.select():
        data, source = key.fileobj.recvfrom(65536)
        print(source[0].replace('::ffff:', ''), key.data, flush=True)
`;
/** For every line `SOURCE DESTINATION PORT`: a datagram. */
const SEND = `
import socket, sys
for line in sys.stdin:
    source, destination, port = line.split()
    s = socket.socket(socket.AF_INET6 if ':' in source else socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((source, 0))
    s.sendto(b'x', (destination, int(port)))
`;

let gateway: NetworkNamespace;
let peer: NetworkNamespace;
const run: RunTool = async (command, args, options) => {
  assert.deepEqual([command, ...args], ['nft', '-f', '-']);
  gateway.nft(options?.input ?? '');
  return '';
};

before(() => {
  gateway = new NetworkNamespace();
  peer = new NetworkNamespace();
  gateway.ip(
    'link set lo up',
    `link add up0 type veth peer name up0 netns ${peer.name}`,
    'address add 192.0.2.1/24 dev up0',
    'address add 192.0.2.5/24 dev up0',
    'address add 2001:db8::1/64 dev up0 nodad',
    'address add 2001:db8::5/64 dev up0 nodad',
    'link set up0 up',
  );
  peer.ip(
    ...['192.0.2.9/24', '192.0.2.10/24', '2001:db8::9/64 nodad', '2001:db8::10/64 nodad'].map((text) => {
      const [address, ...more] = text.split(' ');
      return `address add ${address} dev up0 ${more.join(' ')}`;
    }),
    'link set up0 up',
  );
});
after(async () => {
  for (const namespace of [gateway, peer]) await namespace?.remove();
});

it('holds peers of tunnels off, and nobody else', async () => {
  const received = linesOf(gateway.spawn('python3', ['-c', RECEIVE]));
  await received.next();
  const sender = peer.spawn('python3', ['-c', SEND]);
  const heard = async (): Promise<string[]> => {
    const sent = [
      '192.0.2.9 192.0.2.1 500',
      '192.0.2.9 192.0.2.1 4500',
      '2001:db8::9 2001:db8::1 4500',
      '192.0.2.10 192.0.2.1 500',
      // Of no tunnel's address, and the last one of each family: what came before it has arrived.
      '192.0.2.10 192.0.2.5 4500',
      '2001:db8::10 2001:db8::5 4500',
    ];
    sender.stdin.write(`${sent.join('\n')}\n`);
    const lines: string[] = [];
    const last = new Set(['192.0.2.10 4500', '2001:db8::10 4500']);
    while (last.size > 0) {
      const line = (await received.next()).value as string;
      if (!last.delete(line)) lines.push(line);
    }
    return lines.sort();
  };
  const all = ['192.0.2.10 500', '192.0.2.9 4500', '192.0.2.9 500', '2001:db8::9 4500'];
  assert.deepEqual(await heard(), all);
  await holdPeers(run, [
    { local: '192.0.2.1', remote: '192.0.2.9' },
    { local: '2001:db8::1', remote: '2001:db8::9' },
  ]);
  assert.deepEqual(await heard(), ['192.0.2.10 500']);
  await holdPeers(run, [{ local: '192.0.2.1', remote: null }]);
  assert.deepEqual(await heard(), ['2001:db8::9 4500']);
  await releasePeers(run);
  assert.deepEqual(await heard(), all);
  await releasePeers(run);
  assert.doesNotMatch(gateway.exec('nft', ['list', 'tables']), new RegExp(HOLD_TABLE));
});
