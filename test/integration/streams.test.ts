/**
 * Plugins that read streams, in a running gateway: curl and a server on the kernels' TCP stacks, a plugin that holds homeward
 * to its contract with every byte, and one text that may not pass, wherever segments cut it.
 */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { labOptions, startNetwork } from '../support/lab/lab-test.ts';
import type { Network } from '../support/lab/network.ts';
import { Lab } from '../support/lab.ts';
import { eventually } from '../support/patience.ts';

const PLUGIN = join(import.meta.dirname, '../fixtures/stream-contract-plugin');
const FORBIDDEN = 'the text that may not pass';
const PORT = 8080;
const FILE_BYTES = 24 * 1024 * 1024;

/**
 * Serves a file, takes uploads, and sends the parts of a text as segments of their own: /parts/N cuts it behind N bytes.
 */
const SERVER = `
import http.server, socket, sys, time
directory, text = sys.argv[1], sys.argv[2].encode()
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.0'
    def log_message(self, *a): pass
    def do_GET(self):
        self.send_response(200); self.end_headers()
        kind, _, rest = self.path[1:].partition('/')
        if kind == 'file':
            with open(directory + '/served', 'rb') as f: self.wfile.write(f.read())
            return
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        at = int(rest)
        for part in (b'x' * 100, b'y' * 100 + text[:at], text[at:] + b'z' * 100):
            self.wfile.write(part); self.wfile.flush(); time.sleep(0.2)
    def do_PUT(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        with open(directory + '/uploaded', 'wb') as f: f.write(body)
        self.send_response(200); self.end_headers()
http.server.ThreadingHTTPServer(('', ${PORT}), Handler).serve_forever()
`;

/** Of segments with data, one in 25 does not arrive, either way. */
const LOSSY = `
table ip lossy {
  chain forward {
    type filter hook forward priority 0
    tcp dport 8080 meta length > 200 numgen random mod 25 0 drop
    tcp sport 8080 meta length > 200 numgen random mod 25 0 drop
  }
}
`;

describe('plugins that read streams', labOptions(), () => {
  let lab: Lab;
  let network: Network;

  before(async () => {
    lab = new Lab();
    network = await startNetwork(lab, {
      sites: [
        { name: 'paris', attachment: 'gre' },
        { name: 'lyon', attachment: 'on-link' },
        { name: 'nice', attachment: 'next-hop' },
      ],
      configuration: {
        plugins: [
          { name: 'stream-contract', from: PLUGIN, options: { forbidden: FORBIDDEN } },
          { name: 'return-routing' },
        ],
      },
    });
    writeFileSync(join(lab.directory, 'served'), randomBytes(FILE_BYTES));
    lab.spawn('internet', 'python3', ['-c', SERVER, lab.directory, FORBIDDEN]);
    await eventually(
      'the server answers',
      async () => (await curl('lyon', 'parts/0', '--max-time', '1')) !== 7,
      20_000,
    );
  });
  after(() => lab?.remove());

  /** Exit status of curl. What it got is in the lab's file `got-SITE`. */
  async function curl(site: string, path: string, ...options: string[]): Promise<number | null> {
    const url = `http://203.0.113.10:${PORT}/${path}`;
    const got = join(lab.directory, `got-${site}`);
    const { status } = await lab.attempt(site, 'curl', [
      '--silent',
      '--max-time',
      '60',
      '-o',
      got,
      ...options,
      url,
    ]);
    return status;
  }

  const got = (site: string): Buffer => readFileSync(join(lab.directory, `got-${site}`));
  const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

  async function counters(): Promise<Readonly<Record<string, number>>> {
    const status = await network.gateway.status();
    const plugin = status?.plugins.find(({ name }) => name === 'stream-contract');
    assert.ok(plugin, 'the plugin runs');
    assert.equal(plugin.counters.violations, 0, network.gateway.output);
    return plugin.counters;
  }

  it('every byte of a download is read and delivered, from two sites at once', async () => {
    const served = sha256(readFileSync(join(lab.directory, 'served')));
    const before = await counters();
    assert.deepEqual(await Promise.all([curl('paris', 'file'), curl('lyon', 'file')]), [0, 0]);
    assert.equal(sha256(got('paris')), served);
    assert.equal(sha256(got('lyon')), served);
    const after = await counters();
    assert.ok(after.calls! - before.calls! > 40, `${after.calls} calls`);
  });

  it('every byte of an upload is read and delivered', async () => {
    const body = join(lab.directory, 'body');
    writeFileSync(body, randomBytes(4 * 1024 * 1024));
    assert.equal(await curl('paris', 'upload', '--upload-file', body), 0);
    assert.equal(sha256(readFileSync(join(lab.directory, 'uploaded'))), sha256(readFileSync(body)));
    await counters();
  });

  it('nothing is missing and nothing stops where segments are lost, before the gateway and behind it', async () => {
    const rules = join(lab.directory, 'lossy.nft');
    writeFileSync(rules, LOSSY);
    await lab.exec('nice-rt', 'nft', ['-f', rules]);
    const body = join(lab.directory, 'body');
    writeFileSync(body, randomBytes(4_000_000));
    assert.equal(await curl('nice', 'upload', '--upload-file', body), 0);
    assert.equal(sha256(readFileSync(join(lab.directory, 'uploaded'))), sha256(readFileSync(body)));
    assert.equal(await curl('nice', 'file'), 0);
    assert.equal(sha256(got('nice')), sha256(readFileSync(join(lab.directory, 'served'))));
    await lab.exec('nice-rt', 'nft', ['delete', 'table', 'ip', 'lossy']);
    await counters();
  });

  it('a text that straddles two segments is found, and no byte of it arrives', async () => {
    for (const [site, cut] of [
      ['paris', 1],
      ['lyon', Math.floor(FORBIDDEN.length / 2)],
      ['lyon', FORBIDDEN.length - 1],
    ] as const) {
      const before = await counters();
      const status = await curl(site, `parts/${cut}`);
      assert.equal(status, 56, `curl in ${site}: a connection that was reset`);
      const text = got(site).toString('latin1');
      assert.match(
        text,
        /^x{100}$/,
        'what came before it was delivered, and nothing of the segment with its beginning',
      );
      const after = await counters();
      assert.equal(after.found! - before.found!, 1);
      assert.ok(after.held! > before.held!);
    }
  });

  it('a text in an upload ends it before the server has it', async () => {
    const body = join(lab.directory, 'body');
    const bytes = randomBytes(300_000);
    bytes.write(FORBIDDEN, 150_000, 'latin1');
    writeFileSync(body, bytes);
    const target = join(lab.directory, 'uploaded');
    writeFileSync(target, '');
    assert.notEqual(await curl('lyon', 'upload', '--upload-file', body), 0);
    assert.ok(existsSync(target));
    assert.equal(readFileSync(target).length, 0);
    await counters();
  });

  it('nothing is held when the flows have ended', async () => {
    await eventually('all is given back', async () => {
      const metrics = await lab.exec('gw', 'curl', [
        '--silent',
        '--unix-socket',
        join(network.gateway.runtimeDirectory, 'api.sock'),
        'http://localhost/metrics',
      ]);
      return /^homeward_stream_bytes 0$/m.test(metrics) && /^homeward_stream_held_segments 0$/m.test(metrics);
    });
  });
});
