/**
 * A plugin that diverts, with a real proxy in a namespace of its own: sites with the same addresses send the same flows at the
 * same moment, by TCP and UDP, IPv4 and IPv6, and each gets its own answers; while there is no proxy nobody gets any.
 */
import assert from 'node:assert/strict';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { explain } from '../../src/api/client/explain.ts';
import { listFlows } from '../../src/api/client/flows.ts';
import { askPluginView, reloadPlugin, showPlugin, switchPlugin } from '../../src/api/client/plugins.ts';
import { ApiClient } from '../../src/api/client.ts';
import { hostState } from '../support/lab/host-state.ts';
import { labOptions, startNetwork } from '../support/lab/lab-test.ts';
import type { Network } from '../support/lab/network.ts';
import { Lab } from '../support/lab.ts';
import { eventually, PATIENCE } from '../support/patience.ts';

const PLUGIN = join(import.meta.dirname, '../fixtures/divert-contract-plugin');
const SITES = ['paris', 'lyon'] as const;
const HTTP_PORT = 8000;
const UDP_PORT = 5300;
/** Nobody diverts what goes there. */
const DIRECT_PORT = 8001;
const ROUNDS = 4;

/** Says what it was asked, and by whom. */
const SERVER = `
import http.server, socket, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *a): pass
    def do_GET(self):
        body = (self.path[1:] + ' ' + self.client_address[0]).encode()
        self.send_response(200); self.send_header('Content-Length', str(len(body))); self.end_headers()
        self.wfile.write(body)
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
def echo():
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.bind(('::', ${UDP_PORT}))
    while True:
        body, peer = s.recvfrom(2048)
        s.sendto(body + b' ' + peer[0].encode(), peer)
threading.Thread(target=echo, daemon=True).start()
threading.Thread(target=Server(('::', ${DIRECT_PORT}), Handler).serve_forever, daemon=True).start()
Server(('::', ${HTTP_PORT}), Handler).serve_forever()
`;

/** Sends datagrams and prints what comes back, a line each. */
const ASK_UDP = `
import socket, sys
to, port, token = sys.argv[1], int(sys.argv[2]), sys.argv[3]
s = socket.socket(socket.AF_INET6 if ':' in to else socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('', port)); s.settimeout(float(sys.argv[4]))
for i in range(3):
    s.sendto((token + str(i)).encode(), (to, ${UDP_PORT}))
    try: print(s.recvfrom(2048)[0].decode())
    except OSError: print('nothing')
`;

describe('a plugin that diverts', labOptions(), () => {
  let lab: Lab;
  let network: Network;
  let client: ApiClient;
  let port = 41_000;

  before(async () => {
    lab = new Lab();
    network = await startNetwork(lab, {
      sites: [
        { name: 'paris', attachment: 'gre' },
        { name: 'lyon', attachment: 'on-link' },
      ],
      configuration: {
        plugins: [
          {
            name: 'divert-contract',
            from: PLUGIN,
            options: { ports: [HTTP_PORT, UDP_PORT], begin_after_ms: 2000 * PATIENCE },
          },
        ],
      },
    });
    client = new ApiClient(join(network.gateway.runtimeDirectory, 'api.sock'), 30_000 * PATIENCE);
    for (const label of ['internet', 'datacenter']) lab.spawn(label, 'python3', ['-c', SERVER]);
    await eventually(
      'the servers answer',
      async () => (await answersAt(DIRECT_PORT)) && (await answersAt(DIRECT_PORT, '10.50.0.10')),
      20_000,
    );
    await eventually('the proxy is ready', () => isReady(), 20_000);
  });
  after(() => lab?.remove());

  async function isReady(): Promise<boolean> {
    const [diversion] = (await showPlugin(client, 'divert-contract')).diversions;
    return diversion?.state === 'ready' && (await answersAt(HTTP_PORT));
  }

  async function answersAt(serverPort: number, address = '203.0.113.10'): Promise<boolean> {
    return (await get('lyon', `http://${address}:${serverPort}/x`, 1)).startsWith('x ');
  }

  /** What curl gets, by default from a new source port; `status N` if it gets nothing. */
  async function get(site: string, url: string, timeout = 20, from = 0): Promise<string> {
    const local = from === 0 ? [] : ['--local-port', `${from}`];
    const options = ['--silent', '--globoff', '--max-time', `${timeout * PATIENCE}`, ...local];
    const { status, stdout } = await lab.attempt(site, 'curl', [...options, url]);
    return status === 0 ? stdout : `status ${status}`;
  }

  async function askUdp(site: string, address: string, from: number, token: string): Promise<string[]> {
    const args = ['-c', ASK_UDP, address, `${from}`, token, `${5 * PATIENCE}`];
    return (await lab.exec(site, 'python3', args)).trim().split('\n');
  }

  async function relayed(): Promise<{ pid: number | null; flows: Record<string, number> }> {
    return (await askPluginView(client, 'divert-contract', 'proxy', {})) as {
      pid: number | null;
      flows: Record<string, number>;
    };
  }

  async function dropped(reason: string): Promise<number> {
    const status = await network.gateway.status();
    const lyon = status?.tunnels.find(({ name }) => name === network.tunnelName('lyon'));
    return lyon?.drops[reason] ?? 0;
  }

  it('gives sites with equal flows their own answers by TCP, each by way of the proxy', async () => {
    const before = (await relayed()).flows;
    for (const host of ['203.0.113.10', '[2001:db8:113::10]']) {
      for (let round = 0; round < ROUNDS; round++) {
        const from = port++;
        const answers = await Promise.all(
          SITES.map((site) => get(site, `http://${host}:${HTTP_PORT}/${site}-${round}`, 20, from)),
        );
        for (const [at, site] of SITES.entries())
          assert.match(
            answers[at]!,
            new RegExp(`^${site}-${round} \\S*(198\\.51\\.100\\.1|2001:db8:100::1)$`),
          );
      }
    }
    const now = (await relayed()).flows;
    for (const site of SITES) assert.equal(now[site]! - (before[site] ?? 0), 2 * ROUNDS, site);
  });

  it('does so by UDP', async () => {
    for (const [at, host] of ['203.0.113.10', '2001:db8:113::10'].entries()) {
      const answers = await Promise.all(SITES.map((site) => askUdp(site, host, 42_000 + at, site)));
      for (const [index, site] of SITES.entries()) {
        assert.deepEqual(
          answers[index]!.map((line) => line.split(' ')[0]),
          [`${site}0`, `${site}1`, `${site}2`],
        );
      }
    }
  });

  it('reaches another site from the address that stands for the sender', async () => {
    const url = `http://10.50.0.10:${HTTP_PORT}`;
    const answers = await Promise.all(SITES.map((site) => get(site, `${url}/${site}`, 20, 43_000)));
    const sources = SITES.map((site, at) => {
      const found = new RegExp(`^${site} \\S*(198\\.19\\.\\d+\\.\\d+)$`).exec(answers[at]!);
      assert.ok(found, answers[at]);
      return found[1];
    });
    assert.notEqual(sources[0], sources[1]);
  });

  it('is seen in flows and explained', async () => {
    await get('lyon', `http://203.0.113.10:${HTTP_PORT}/seen`, 20, 43_100);
    const { flows } = await listFlows(client, { port: 43_100 }, 10);
    const [flow] = flows;
    assert.equal(flows.length, 1);
    assert.deepEqual(
      [flow!.site, flow!.egress, flow!.pin, flow!.translated?.destination],
      ['lyon', 'divert-contract/relay', network.tunnelName('lyon'), '198.18.0.2'],
    );
    const children = await listFlows(client, { tunnel: 'divert-contract/relay', site: 'lyon' }, 100);
    const child = children.flows.find(({ ingress }) => ingress === 'divert-contract/relay');
    assert.deepEqual([child?.site, child?.egress, child?.pin], ['lyon', 'internet', 'divert-contract/relay']);
    assert.match(child!.original.source, /^198\.19\./);
    const told = await explain(client, {
      from_tunnel: network.tunnelName('lyon'),
      source: '10.0.1.10',
      destination: '203.0.113.10',
      protocol: 'tcp',
      source_port: 43_999,
      destination_port: HTTP_PORT,
    } as never);
    const text = JSON.stringify(told);
    assert.match(text, /diverts the flow to its proxy/);
    assert.match(text, /divert-contract\/relay/);
  });

  it('drops and counts while the proxy is dead, and goes on with the next one', async () => {
    const { pid } = await relayed();
    process.kill(pid!, 'SIGKILL');
    await eventually(
      'it is known to be gone',
      async () => (await showPlugin(client, 'divert-contract')).diversions[0]?.state === 'gone',
    );
    const before = await dropped('diversion_down');
    await eventually('flows are dropped and counted', async () => {
      const answer = await get('lyon', `http://203.0.113.10:${HTTP_PORT}/x`, 0.3);
      assert.match(answer, /^status /);
      return (await dropped('diversion_down')) > before;
    });
    // What nobody diverts is not concerned.
    assert.ok(await answersAt(DIRECT_PORT));
    await eventually('the next proxy serves', () => isReady(), 30_000);
    assert.notEqual((await relayed()).pid, pid);
  });

  it('goes on after the data plane, control or the namespace was lost', async () => {
    await network.gateway.kill('dataPlane');
    await eventually('another data plane serves', () => isReady(), 30_000);

    const [diversion] = (await showPlugin(client, 'divert-contract')).diversions;
    const device = diversion!.namespace.split('-').slice(0, 2).join('-');
    await lab.ip('gw', [`link del dev ${device}`]);
    await eventually('another namespace serves', () => isReady(), 30_000);

    await network.gateway.kill('control');
    await network.gateway.start();
    await eventually('another control serves', () => isReady(), 30_000);

    await reloadPlugin(client, 'divert-contract', false, false);
    await eventually('code read anew serves', () => isReady(), 30_000);
  });

  it('leaves nothing of a plugin that is disabled, and nothing behind with down', async () => {
    const inode = statSync(`/run/netns/${lab.name('gw')}`).ino;
    const namespaces = (): string[] =>
      readdirSync('/run/netns').filter((name) => name.startsWith('hwd-') && name.endsWith(`-${inode}`));
    assert.equal(namespaces().length, 1);
    await switchPlugin(client, 'divert-contract', 'disable', {}, false);
    assert.deepEqual(namespaces(), []);
    assert.match(await get('lyon', `http://203.0.113.10:${HTTP_PORT}/x`), /^x \S*198\.51\.100\.1$/);
    await switchPlugin(client, 'divert-contract', 'enable', {}, false);
    await eventually('it serves again', () => isReady(), 30_000);
    const { pid } = await relayed();

    // A service that is restarted keeps the namespace, and ends who is in it.
    assert.equal(await network.gateway.end('SIGTERM'), 0);
    assert.equal(namespaces().length, 1);
    assert.equal(isAlive(pid!), false);
    await network.gateway.start();
    await eventually('it serves after a restart', () => isReady(), 30_000);

    assert.equal(await network.gateway.end('SIGINT'), 0);
    assert.deepEqual(namespaces(), []);
    assert.doesNotMatch(await hostState(lab, 'gw'), /hwd-/);
  });
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
