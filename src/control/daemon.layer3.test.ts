/**
 * A gateway that reaches the world by a dialled line: internet and a GRE tunnel over a real layer-3 device, with
 * real TCP, while the line's address is replaced and while the other side hangs up and calls again.
 */
import assert from 'node:assert/strict';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { DaemonHost } from '../../test/support/daemon-host.ts';
import type { DialledLineOptions } from '../../test/support/dialled-line.ts';
import { linesOf, NetworkNamespace } from '../../test/support/network-namespace.ts';
import { eventually } from '../../test/support/patience.ts';

const DIALLED_LINE = join(import.meta.dirname, '../../test/support/dialled-line.ts');
const BYTES = 8 << 20;
const FIRST_ADDRESS = '203.0.113.5';
const SECOND_ADDRESS = '203.0.113.77';
const THIRD_ADDRESS = '203.0.113.130';

const CONFIG = `
version: 1
gateway: { name: gw1 }
sites:
  - name: paris
    prefixes: [10.0.1.0/24]
    tunnels:
      - { name: paris-gre, type: gre, local: 192.0.2.1, remote: 198.51.100.10 }
egress:
  - { name: internet, type: internet, device: ppp0 }
routes:
  - { prefix: 0.0.0.0/0, via: internet }
flow_table: { max_flows: 4096 }
`;

/** Says who calls, and sends back what it is sent. */
const SERVER = `
  require('node:net').createServer((socket) => {
    console.log(socket.remoteAddress + ' ' + socket.remotePort);
    socket.on('error', () => {});
    socket.pipe(socket);
  }).listen(5001, '198.51.100.7', () => console.log('listening'));
`;

/** Sends bytes and compares what comes back; prints a line a round: \`whole\`, \`damaged\` or \`silence\`. */
const CLIENT = `
  const [bytes, silenceMs] = process.argv.slice(1).map(Number);
  const data = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; at += 4) data.writeUInt32LE(Math.imul(at, 2654435761) >>> 0, at);
  const socket = require('node:net').connect(5001, '198.51.100.7');
  let got = [], length = 0, timer;
  const say = (word) => { clearTimeout(timer); console.log(word); got = []; length = 0; };
  const round = () => { timer = setTimeout(say, silenceMs, 'silence'); socket.write(data); };
  socket.on('error', (error) => say(error.code));
  socket.on('data', (chunk) => {
    got.push(chunk);
    length += chunk.length;
    if (length >= bytes) say(Buffer.concat(got).equals(data) ? 'whole' : 'damaged');
  });
  socket.on('connect', round);
  require('node:readline').createInterface({ input: process.stdin }).on('line', round);
`;

class DialledGateway {
  readonly host: DaemonHost;
  readonly site = new NetworkNamespace();
  readonly internet = new NetworkNamespace();
  #line: ChildProcessWithoutNullStreams | undefined;
  #planGeneration = 0;

  constructor(t: TestContext) {
    // First, so that it is removed last.
    t.after(async () => {
      await this.site.remove();
      await this.internet.remove();
    });
    this.host = new DaemonHost(t);
    writeFileSync(this.host.configPath, CONFIG);
    this.host.namespace.ip('route del default');
  }

  /** The line stands, and has an address. */
  async dial(address: string): Promise<void> {
    const options: DialledLineOptions = {
      local: '198.51.100.10',
      remote: '192.0.2.1',
      site: this.site.name,
      internet: this.internet.name,
    };
    const line = this.host.namespace.spawn(process.execPath, [DIALLED_LINE, JSON.stringify(options)]);
    this.#line = line;
    let errors = '';
    line.stderr.on('data', (data: Buffer) => {
      errors += data.toString();
    });
    assert.equal((await linesOf(line).next()).value, 'ready', errors);
    this.host.namespace.ip(
      `address add ${address} peer 203.0.113.1 dev ppp0`,
      'link set ppp0 up',
      'route add default dev ppp0',
    );
    this.site.ip('address add 10.0.1.2/24 dev site0', 'link set site0 up', 'route add default dev site0');
    this.internet.ip(
      'link set lo up',
      'address add 198.51.100.7/32 dev isp0',
      'link set isp0 up',
      'route add default dev isp0',
    );
  }

  async hangUp(): Promise<void> {
    const line = this.#line!;
    const ended = new Promise((resolve) => line.once('exit', resolve));
    line.kill('SIGKILL');
    await ended;
  }

  /** Until the data plane has a plan that it had not at the last call. */
  async newPlan(): Promise<void> {
    const former = this.#planGeneration;
    this.#planGeneration = await eventually('a new plan', async () => {
      const { planGeneration } = await this.host.forwarding();
      return planGeneration > former ? planGeneration : undefined;
    });
  }

  /** A connection from the site; its first round has begun. */
  connect(bytes: number, silenceMs = 8000): { rounds: AsyncIterator<string>; again(): void } {
    const client = this.site.spawn(process.execPath, ['-e', CLIENT, `${bytes}`, `${silenceMs}`]);
    return { rounds: linesOf(client), again: () => client.stdin.write('\n') };
  }
}

test('a layer-3 uplink: internet and GRE by it, another address, another line', async (t) => {
  const gateway = new DialledGateway(t);
  const { host } = gateway;
  await gateway.dial(FIRST_ADDRESS);
  const daemon = host.start();
  await gateway.newPlan();
  const server = gateway.internet.spawn(process.execPath, ['-e', SERVER]);
  const callers = linesOf(server);
  assert.equal((await callers.next()).value, 'listening');

  // Out of the tunnel and to the internet by one device, and back.
  const bulk = gateway.connect(BYTES);
  assert.equal((await bulk.rounds.next()).value, 'whole');
  const [address, port] = String((await callers.next()).value).split(' ');
  assert.equal(address, FIRST_ADDRESS);
  assert.ok(Number(port) >= 61000, port);

  const old = gateway.connect(1000, 1500);
  assert.equal((await old.rounds.next()).value, 'whole');
  await callers.next();

  await t.test('the address is replaced', async () => {
    // With the last address the kernel takes the routes by the device away.
    host.namespace.ip(
      `address del ${FIRST_ADDRESS} peer 203.0.113.1 dev ppp0`,
      `address add ${SECOND_ADDRESS} peer 203.0.113.1 dev ppp0`,
      'route add default dev ppp0',
    );
    await gateway.newPlan();
    assert.equal((await host.status()).flows?.current, 0);
    old.again();
    assert.equal((await old.rounds.next()).value, 'silence', 'a flow of the former address has ended');
    const next = gateway.connect(BYTES);
    assert.equal((await next.rounds.next()).value, 'whole');
    assert.match(
      String((await callers.next()).value),
      new RegExp(`^${SECOND_ADDRESS.replaceAll('.', '\\.')} `),
    );
  });

  await t.test('the other side hangs up, and calls again with another address', async () => {
    await gateway.hangUp();
    await eventually('the tunnel is down', async () => (await host.status()).tunnels[0]!.state === 'down');
    await gateway.dial(THIRD_ADDRESS);
    await gateway.newPlan();
    await eventually('the tunnel is up', async () => (await host.status()).tunnels[0]!.state === 'up');
    const next = gateway.connect(BYTES);
    assert.equal((await next.rounds.next()).value, 'whole');
    assert.match(
      String((await callers.next()).value),
      new RegExp(`^${THIRD_ADDRESS.replaceAll('.', '\\.')} `),
    );
  });

  assert.equal(await host.end(daemon, 'SIGINT'), 0);
});
