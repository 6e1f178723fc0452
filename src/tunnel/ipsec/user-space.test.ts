/** The libipsec driver against plain strongSwan: packets pass, and what fails comes back by itself. */
import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { EXAMPLE_IPSEC_TUNNEL } from '../../../test/fixtures/example-ipsec-tunnel.ts';
import { IpsecPeer, ipsecObstacle } from '../../../test/support/ipsec-peer.ts';
import { NetworkNamespace } from '../../../test/support/network-namespace.ts';
import { inOwnNamespace } from '../../../test/support/own-namespace.ts';
import { eventually } from '../../../test/support/patience.ts';
import type { IpsecTunnel } from './connection.ts';
import type { DrivenTunnel } from './driver.ts';
import type { RunTool } from './host-tools.ts';
import type { IpsecTunnelStatus } from './tunnel-state.ts';
import { UserSpaceDriver } from './user-space.ts';
import { STEERING_TABLE, userSpaceNames } from './user-space-host.ts';

const skip = ipsecObstacle();
if (inOwnNamespace(import.meta.url)) {
  describe('the libipsec driver', skip === undefined ? {} : { skip }, () => {
    const directory = mkdtempSync(join(tmpdir(), 'homeward-ipsec-'));
    const instance = `t${process.pid}`;
    const states: string[] = [];
    const log: string[] = [];
    let secret: string | undefined;
    let peer: IpsecPeer;
    let peerNamespace: NetworkNamespace;
    let driver: UserSpaceDriver;

    const tunnel: IpsecTunnel = { ...EXAMPLE_IPSEC_TUNNEL, dpdMs: 1000, start: 'both' };
    const driven: DrivenTunnel = {
      key: 'paris',
      tunnel,
      credentials: () => {
        if (secret === undefined) throw new Error('there is no secret yet');
        return { kind: 'psk', secret: Buffer.from(secret) };
      },
      path: { device: 'up0', mtu: 1500, local: tunnel.local, remote: tunnel.remote, nextHop: '192.0.2.2' },
    };
    const status = (): IpsecTunnelStatus => driver.status(tunnel.name)!;
    const inState = (state: string): Promise<unknown> =>
      eventually(
        `the tunnel is ${state}: ${JSON.stringify(status())}\n${log.slice(-30).join('\n')}`,
        () => status().state === state,
      );

    /** Sets the device up, as the gateway does when its guard stands, and pings through it. */
    function pings(...options: readonly string[]): boolean {
      run(
        'ip',
        ['-batch', '-'],
        `link set ${tunnel.name} up\naddress replace 10.9.9.1/24 dev ${tunnel.name}\n`,
      );
      return spawnSync('ping', ['-c', '2', '-i', '0.2', '-W', '2', ...options, '10.9.9.2']).status === 0;
    }

    before(async () => {
      peerNamespace = new NetworkNamespace();
      run(
        'ip',
        ['-batch', '-'],
        `link add up0 type veth peer name wan netns ${peerNamespace.name}\naddress add 192.0.2.1/24 dev up0\nlink set up0 up\n`,
      );
      peerNamespace.ip(
        'link set lo up',
        'address add 192.0.2.2/24 dev wan',
        'link set wan up',
        'address add 10.9.9.2/32 dev lo',
        'address add fd09::2/128 dev lo nodad',
      );
      peer = new IpsecPeer({
        namespace: peerNamespace.name,
        directory: join(directory, 'peer'),
        local: tunnel.remote!,
        remote: tunnel.local,
        localId: tunnel.remoteId,
        remoteId: tunnel.localId,
        authentication: { secret: 'the right one' },
        networks: ['10.9.9.2/32', 'fd09::2/128'],
      });
      await peer.start();
      driver = new UserSpaceDriver({
        directory: join(directory, 'driver'),
        instance,
        run: runTool,
        log: (_, __, text) => log.push(text),
        onState: (_, { state, reason }) => states.push(reason === null ? state : `${state}: ${reason}`),
      });
      await driver.apply([driven]);
    });
    after(async () => {
      await driver?.stop();
      await peer?.kill();
      await peerNamespace?.remove();
      rmSync(directory, { recursive: true, force: true });
    });

    it('refuses no peer that calls before the tunnel is known: it would not call again', async () => {
      await eventually('it wants a secret', () => status().reason === 'there is no secret yet');
      assert.throws(() => peer.swanctl('--initiate', '--child', 'net', '--timeout', '2'));
      const said = readFileSync(peer.logPath, 'utf8');
      assert.match(said, /retransmit 1 of request/);
      assert.doesNotMatch(said, /NO_PROPOSAL_CHOSEN/);
      peer.swanctl('--terminate', '--ike', 'gateway', '--force');
    });

    it('says why it is down, tries again, and is up when the secret was put right', async () => {
      secret = 'not the right one';
      await eventually('the reason is known', () => status().reason?.includes('refuses our authentication'));
      secret = 'the right one';
      await inState('up');
      assert.ok(pings(), log.slice(-20).join('\n'));
      assert.ok(driver.details(tunnel.name)!.sas[0]!.children[0]!.isEncapsulated);
    });

    it('leaves the IKE ports of other peers to the host', () => {
      const rules = run('nft', ['list', 'table', 'netdev', STEERING_TABLE]);
      assert.match(rules, /ip saddr 192\.0\.2\.2 ip daddr 192\.0\.2\.1 udp dport 4500 /);
      assert.doesNotMatch(run('ip', ['route', 'show', 'table', 'all']), /ipsec0|table 220/);
      assert.doesNotMatch(run('ip', ['rule', 'show']), /220/);
    });

    it('leaves rules alone that stand, and sets those again that were flushed', async () => {
      const runs = nftRuns;
      for (let i = 0; i < 5; i++) await driver.apply([driven]);
      assert.equal(nftRuns, runs);
      run('nft', ['flush', 'ruleset']);
      await driver.apply([driven]);
      assert.equal(nftRuns, runs + 1);
      await eventually('pings pass', pings);
    });

    it('gives the host the fragments of datagrams that are for the host', async () => {
      const socket = createSocket('udp4');
      const received = new Promise<number>((resolve) =>
        socket.once('message', ({ length }) => resolve(length)),
      );
      await new Promise<void>((resolve) => socket.bind(9999, tunnel.local, resolve));
      const send = `const s = require('node:dgram').createSocket('udp4');
        s.send(Buffer.alloc(4000), 9999, '${tunnel.local}', () => s.close());`;
      peerNamespace.exec(process.execPath, ['-e', send]);
      assert.equal(await received, 4000);
      socket.close();
    });

    it('takes IKE and ESP in fragments', async () => {
      peerNamespace.ip(`route replace ${tunnel.local} dev wan mtu 600`);
      try {
        await eventually('large pings pass', () => pings('-s', '1300'));
      } finally {
        peerNamespace.ip(`route del ${tunnel.local} dev wan`);
      }
    });

    it('knows that the peer is dead, and is up again when the peer is', async () => {
      await peer.kill();
      await inState('down');
      assert.equal(status().reason, 'the peer does not answer');
      const gone = '192.0.2.1 is not an address of this host';
      await driver.apply([{ ...driven, path: gone }]);
      assert.equal(status().reason, gone);
      await driver.apply([driven]);
      await peer.start();
      await inState('up');
      assert.ok(pings());
    });

    it('comes back when its daemon is killed', async () => {
      const { namespace } = userSpaceNames(instance, tunnel.name);
      const [pid] = run('ip', ['netns', 'pids', namespace]).trim().split('\n').map(Number);
      assert.match(readFileSync(`/proc/${pid}/cmdline`, 'latin1'), /charon/);
      process.kill(pid!, 'SIGKILL');
      await inState('down');
      assert.match(status().reason!, /the IKE daemon/);
      await inState('up');
      await eventually('pings pass', pings);
    });

    it('comes back when its daemon hangs', async () => {
      const { namespace } = userSpaceNames(instance, tunnel.name);
      const [pid] = run('ip', ['netns', 'pids', namespace]).trim().split('\n').map(Number);
      process.kill(pid!, 'SIGSTOP');
      // Two questions of ten seconds, and some more until it is killed.
      const reason = 'the IKE daemon did not answer any more';
      await eventually('it is noticed', () => status().reason === reason, 60_000);
      await inState('up');
      await eventually('pings pass', pings);
    });

    for (const [what, device] of [
      ['device', tunnel.name],
      ['wire', userSpaceNames(instance, tunnel.name).wire],
    ] as const) {
      it(`comes back when its ${what} is removed`, async () => {
        run('ip', ['link', 'del', device]);
        await driver.apply([driven]);
        const reason = `somebody has removed its interface ${device}`;
        await eventually('it is noticed', () => status().reason === reason);
        await inState('up');
        await eventually('pings pass', pings);
      });
    }

    it('says nothing to its peer while its device cannot be there', async () => {
      await driver.apply([]);
      // Somebody else's, of the same kind.
      run('ip', ['tuntap', 'add', 'dev', tunnel.name, 'mode', 'tun']);
      const before = states.length;
      await driver.apply([driven]);
      await inState('down');
      assert.match(status().reason!, /its device cannot be made as paris-ipsec/);
      const tries = (): number => log.filter((text) => text.includes('its device cannot be made')).length;
      const first = tries();
      await eventually('it tries again', () => tries() > first);
      const since = states.slice(before).filter((state) => !state.startsWith('down: its device'));
      assert.deepEqual(since, []);
      run('ip', ['link', 'del', tunnel.name]);
      await inState('up');
      await eventually('pings pass', pings);
    });

    it('leaves nothing', async () => {
      await driver.stop();
      const { namespace, wire } = userSpaceNames(instance, tunnel.name);
      assert.doesNotMatch(run('ip', ['netns', 'list']), new RegExp(namespace));
      assert.doesNotMatch(run('ip', ['link']), new RegExp(`${wire}|${tunnel.name}`));
      assert.doesNotMatch(run('nft', ['list', 'ruleset']), new RegExp(STEERING_TABLE));
    });
  });
}

function run(command: string, args: readonly string[], input = ''): string {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8', input });
  assert.equal(status, 0, `${command} ${args.join(' ')}: ${stderr}`);
  return stdout;
}

let nftRuns = 0;
const runTool: RunTool = (command, args, options = {}) =>
  new Promise((resolve, reject) => {
    if (command === 'nft') nftRuns++;
    const child = execFile(command, args as string[], (error, stdout, stderr) => {
      if (error === null || options.mayFail) resolve(stdout);
      else reject(new Error(`${command} ${args.join(' ')}: ${stderr}`));
    });
    // Some end before they have read all of it; what they say and their status tell why.
    child.stdin?.on('error', () => {});
    child.stdin?.end(options.input ?? '');
  });
