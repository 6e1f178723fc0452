/**
 * homeward as a service of a real systemd, from the boot on: that the guard is in force before the network is up, and what
 * becomes of connections when the service is restarted, killed, stuck, stopped and taken down; and that IPsec works under
 * it with the drop-in. Runs in the guest of
 * `scripts/lab test --boot test/full-kernel/booted/boot`, which draws the network.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { after, before, it } from 'node:test';
import { ApiClient } from '../../../src/api/client.ts';
import type { StatusBody } from '../../../src/api/schemas/gateway.ts';
import { IpsecPeer } from '../../support/ipsec-peer.ts';
import { Agent, type FlowJob, type FlowResult } from '../../support/lab/agent.ts';
import { eventually } from '../../support/patience.ts';

const UNIT = 'homeward.service';
const DROP_INS = '/etc/systemd/system/homeward.service.d';
const SITE_ADDRESS = '10.0.1.10';
const SERVER_ADDRESS = '203.0.113.10';
const PORT = 7;
/** What systemd is slow at, under emulation. */
const STEP_MS = 120_000;
/** Long enough for many messages to be lost. */
const PAUSE_MS = 3000;

function run(program: string, ...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  });
  if (error !== undefined) throw error;
  assert.equal(status, 0, `${program} ${args.join(' ')}: ${stderr}`);
  return stdout;
}

function property(unit: string, name: string): string {
  return run('systemctl', 'show', '--value', '-p', name, unit).trim();
}

/** Of a unit: microseconds since boot. */
function moment(unit: string, name: string): number {
  return Number(property(unit, `${name}TimestampMonotonic`));
}

const mainPid = (): number => Number(property(UNIT, 'MainPID'));
const restarts = (): number => Number(property(UNIT, 'NRestarts'));

/** Sources of the echo requests that came by the uplink, from before the boot on. */
function seenInTheWorld(): Set<string> {
  const lines = run('tcpdump', '-n', '-r', '/dev/shm/world.pcap', 'icmp[icmptype] == icmp-echo').split('\n');
  return new Set(lines.flatMap((line) => / IP (\d+\.\d+\.\d+\.\d+)/.exec(line)?.[1] ?? []));
}

const agent = new Agent();
const api = new ApiClient(`/run/homeward/${readNamespace()}/api.sock`, 60_000);

function readNamespace(): string {
  return /\[(\d+)\]/.exec(run('readlink', '/proc/self/ns/net'))![1]!;
}

async function status(): Promise<StatusBody | undefined> {
  return await api.status().catch(() => undefined);
}

async function forwarding(): Promise<StatusBody> {
  const forwards = eventually(
    'the service is active and the gateway forwards',
    async () => {
      if (property(UNIT, 'ActiveState') !== 'active') return undefined;
      const current = await status();
      return current?.dataPlane.state === 'forwarding' ? current : undefined;
    },
    STEP_MS,
  );
  return await forwards.catch((error: Error) => {
    throw new Error(`${error.message}\n${run('journalctl', '--no-pager', '-n', '60', '-u', 'homeward*')}`);
  });
}

let flows = 0;

before(async () => {
  for (const kind of ['tcp', 'udp'] as const) {
    await agent.serve({ kind, name: 'world', namespace: 'world', address: SERVER_ADDRESS, port: PORT });
  }
});
after(() => agent.end());

/** A connection and a stream of datagrams that last for the whole test. */
async function startFlows(): Promise<number> {
  const job = (kind: 'tcp' | 'udp'): FlowJob => ({
    kind,
    family: 4,
    namespace: 'site',
    source: SITE_ADDRESS,
    sourcePort: 20_000,
    destination: SERVER_ADDRESS,
    destinationPort: PORT,
    token: kind.padEnd(32, 'x'),
    count: 1_000_000,
    intervalMs: 50,
    size: 200,
    graceMs: 600_000,
  });
  const number = await agent.start([job('tcp'), job('udp')]);
  await progressed(number, [0, 0]);
  return number;
}

const received = (results: readonly FlowResult[]): number[] => results.map((result) => result.received);

/** The same connection and socket get more answers. */
async function progressed(number: number, since: readonly number[]): Promise<void> {
  await eventually(
    'flows go on',
    async () => received(await agent.results(number)).every((count, at) => count >= since[at]! + 5),
    STEP_MS,
  );
  for (const { wrong, error } of await agent.results(number)) {
    assert.deepEqual({ wrong, error }, { wrong: 0, error: null });
  }
}

async function goesOn(): Promise<void> {
  // A test that runs alone has none yet.
  if (flows === 0) flows = await startFlows();
  await progressed(flows, received(await agent.results(flows)));
}

it('guards the host before the network is up', async (t) => {
  await forwarding();
  assert.match(readFileSync('/run/tables-before-network', 'utf8'), /homeward/);
  const guarded = moment('homeward-guard.service', 'ActiveEnter');
  const network = moment('lab-network.service', 'InactiveExit');
  const ready = moment(UNIT, 'ActiveEnter');
  assert.ok(guarded > 0 && guarded <= network && network <= ready);
  t.diagnostic(
    `after boot: guard ${guarded / 1e6} s, network ${network / 1e6} s, gateway ready ${ready / 1e6} s`,
  );
  const seen = seenInTheWorld();
  assert.ok(seen.has('10.0.9.10'), 'the host forwards what is not guarded');
  assert.ok(!seen.has(SITE_ADDRESS), "the host forwards no site's packet");
});

it('is ready, and says how it stands', async () => {
  assert.equal(property(UNIT, 'Type'), 'notify');
  assert.equal(property(UNIT, 'SubState'), 'running');
  assert.notEqual(property(UNIT, 'StatusText'), '');
  assert.equal(run('systemctl', 'is-enabled', UNIT).trim(), 'enabled');
  assert.doesNotMatch(run('journalctl', '-u', 'homeward*', '-p', 'err', '-q'), /./);
  flows = await startFlows();
});

it('restart: connections go on', async (t) => {
  const pid = mainPid();
  const began = performance.now();
  run('systemctl', 'restart', UNIT);
  await forwarding();
  t.diagnostic(`forwards again after ${Math.round(performance.now() - began)} ms`);
  assert.notEqual(mainPid(), pid);
  await goesOn();
});

it('reload applies the configuration file', async () => {
  const pid = mainPid();
  run('systemctl', 'reload', UNIT);
  assert.equal(mainPid(), pid);
  await goesOn();
});

it('kill -9 of control: started again, and the data plane goes on meanwhile', async () => {
  const { dataPlane } = await forwarding();
  const pid = mainPid();
  const count = restarts();
  run('systemctl', 'kill', '--kill-whom=main', '--signal=KILL', UNIT);
  await goesOn();
  await eventually('systemd has started it again', () => restarts() === count + 1, STEP_MS);
  assert.equal((await forwarding()).dataPlane.pid, dataPlane.pid);
  assert.notEqual(mainPid(), pid);
  await goesOn();
});

it('kill -9 of both: started again, and connections go on', async () => {
  const { dataPlane } = await forwarding();
  const count = restarts();
  run('systemctl', 'kill', '--kill-whom=all', '--signal=KILL', UNIT);
  await eventually('systemd has started it again', () => restarts() === count + 1, STEP_MS);
  assert.notEqual((await forwarding()).dataPlane.pid, dataPlane.pid);
  await goesOn();
});

it('a stuck control process: the watchdog ends it, and the data plane goes on', async (t) => {
  const { dataPlane } = await forwarding();
  const count = restarts();
  const began = performance.now();
  process.kill(mainPid(), 'SIGSTOP');
  await goesOn();
  await eventually('systemd has started it again', () => restarts() === count + 1, STEP_MS);
  t.diagnostic(`the watchdog has acted after ${Math.round(performance.now() - began)} ms`);
  assert.match(run('journalctl', '-u', UNIT, '-q'), /Watchdog timeout/);
  assert.equal((await forwarding()).dataPlane.pid, dataPlane.pid);
  await goesOn();
});

it('kill -9 of the data plane: the unit sees nothing of it', async () => {
  const { dataPlane } = await forwarding();
  const [pid, count] = [mainPid(), restarts()];
  process.kill(dataPlane.pid!, 'SIGKILL');
  await eventually(
    'another data plane forwards',
    async () => {
      const current = (await status())?.dataPlane;
      return current?.state === 'forwarding' && current.pid !== dataPlane.pid;
    },
    STEP_MS,
  );
  assert.deepEqual([mainPid(), restarts()], [pid, count]);
  await goesOn();
});

it('stop: nothing passes, the guard stays; start: connections go on', async () => {
  run('systemctl', 'stop', UNIT);
  assert.equal(property(UNIT, 'ActiveState'), 'inactive');
  const stopped = received(await agent.results(flows));
  await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  for (const [at, count] of received(await agent.results(flows)).entries()) {
    // What was on its way then may still have come.
    assert.ok(count <= stopped[at]! + 2);
  }
  assert.match(run('nft', 'list', 'tables'), /homeward/);
  run('systemctl', 'start', UNIT);
  await forwarding();
  await goesOn();
  assert.ok(!seenInTheWorld().has(SITE_ADDRESS), "the host has forwarded no site's packet");
});

/** A site by IPsec, whose daemon lives in a namespace of its own. */
const BRANCH = `
  - name: branch
    prefixes: [10.0.5.0/24]
    tunnels:
      - name: branch-ipsec
        type: ipsec
        local: 198.51.100.1
        remote: 198.51.101.2
        interface_address: 10.0.5.1/24
        ike: { local_id: gw1.example, remote_id: branch.example, psk: { file: /etc/homeward/branch.psk }, proposals: [aes256gcm16-prfsha384-ecp384] }
        driver: libipsec
egress:`;

async function branch(): Promise<StatusBody['tunnels'][number] | undefined> {
  return (await status())?.tunnels.find(({ name }) => name === 'branch-ipsec');
}

it('IPsec: down for want of the drop-in, which the reason names; up with it, and again after kill -9', async (t) => {
  writeFileSync('/etc/homeward/branch.psk', 'as long as it takes\n', { mode: 0o600 });
  const configuration = readFileSync('/etc/homeward/homeward.yaml', 'utf8');
  writeFileSync('/etc/homeward/homeward.yaml', configuration.replace('\negress:', BRANCH));
  run('systemctl', 'reload', UNIT);
  const without = await eventually(
    'the tunnel is there',
    async () => ((await branch())?.state === 'down' ? await branch() : undefined),
    STEP_MS,
  );
  assert.match(without.reason ?? '', /CAP_SYS_ADMIN is missing/);
  assert.match((await status())!.problems.join('\n'), /homeward-ipsec\.conf/);

  const peer = new IpsecPeer({
    namespace: 'branch',
    directory: '/run/branch-peer',
    local: '198.51.101.2',
    remote: '198.51.100.1',
    localId: 'branch.example',
    remoteId: 'gw1.example',
    authentication: { secret: 'as long as it takes' },
    networks: ['10.0.5.0/24'],
  });
  t.after(() => peer.kill());
  await peer.start();
  run('install', '-m', '0644', 'appliance/systemd/homeward-ipsec.conf', `${DROP_INS}/ipsec.conf`);
  run('systemctl', 'daemon-reload');
  run('systemctl', 'restart', UNIT);
  const passes = async (what: string): Promise<void> => {
    const began = performance.now();
    await eventually(what, async () => (await branch())?.state === 'up', STEP_MS).catch((error: Error) => {
      throw new Error(`${error.message}\n${run('journalctl', '--no-pager', '-n', '60', '-u', 'homeward*')}`);
    });
    t.diagnostic(`${what}: up after ${Math.round(performance.now() - began)} ms`);
    const ping = ['-n', '-c', '3', '-i', '0.5', '-W', '20', '-I', '10.0.5.10', SERVER_ADDRESS];
    const answers = run('ip', 'netns', 'exec', 'branch', 'ping', ...ping);
    assert.match(answers, / 3 received/);
    await goesOn();
  };
  await passes('the tunnel is up');
  assert.ok(!seenInTheWorld().has('10.0.5.10'), 'nothing of the branch is seen in clear text');
  run('systemctl', 'kill', '--kill-whom=main', '--signal=KILL', UNIT);
  await eventually('its daemon is gone', async () => (await branch()) === undefined, STEP_MS);
  await forwarding();
  await passes('after kill -9 the tunnel is up again');
});

it('down: nothing is left', async () => {
  await agent.stop(flows);
  run('homeward', 'down');
  await eventually('the unit is inactive', () => property(UNIT, 'ActiveState') === 'inactive', STEP_MS);
  assert.equal(property(UNIT, 'Result'), 'success');
  assert.doesNotMatch(run('nft', 'list', 'ruleset'), /homeward/);
  const links = (JSON.parse(run('ip', '-json', 'link')) as { ifname: string }[]).map(({ ifname }) => ifname);
  assert.deepEqual(
    links.filter((name) => !['tunl0', 'gre0', 'gretap0', 'erspan0', 'sit0', 'ip6tnl0'].includes(name)).sort(),
    ['ic0', 'lo', 'st0', 'up0'],
  );
  assert.deepEqual(readdirSync('/run/netns').sort(), ['branch', 'site', 'stray', 'world']);
  assert.deepEqual(existsSync('/run/homeward') ? readdirSync('/run/homeward') : [], []);
  assert.deepEqual(
    readdirSync('/dev/shm').filter((name) => name.startsWith('homeward')),
    [],
  );
});
