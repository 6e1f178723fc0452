/**
 * IPsec tunnels whose ends fail: what is said of it, that they come back by themselves, and that meanwhile no packet of
 * one site reaches another and nothing is on the wire in clear text.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { STEERING_TABLE } from '../../src/tunnel/ipsec/user-space-host.ts';
import { ipsecObstacle } from '../support/ipsec-peer.ts';
import { IpsecRig, NAMESPACES } from '../support/lab/ipsec-rig.ts';
import { assertNoLeak, labOptions, useNetwork } from '../support/lab/lab-test.ts';
import { secretPath } from '../support/lab/sites.ts';

const skip = ipsecObstacle();
describe('IPsec tunnels that fail', skip === undefined ? labOptions() : { skip }, () => {
  const test = useNetwork({
    sites: [
      { name: 'paris', attachment: 'ipsec' },
      { name: 'lyon', attachment: 'ipsec' },
    ],
  });
  const rig = new IpsecRig(test);

  it('a daemon that is killed takes only its own tunnel down, which comes back', async (t) => {
    const run = await rig.startFlows();
    const other = (await rig.tunnel('lyon'))!.since;
    process.kill(rig.daemonOf('paris'), 'SIGKILL');
    await rig.untilState(t, 'paris', 'down', /the IKE daemon/);
    await rig.untilState(t, 'paris', 'up');
    assert.equal((await rig.tunnel('lyon'))!.since, other, 'the other tunnel was up all the time');
    await rig.assertSurvived(t, run);
  });

  it('a peer that dies is known to be dead, and used again when it is back', async (t) => {
    const run = await rig.startFlows();
    const peer = test.network.ipsecPeers.get('lyon')!;
    await peer.kill();
    await rig.untilState(t, 'lyon', 'down', /the peer does not answer/);
    assert.equal((await rig.tunnel('paris'))!.state, 'up');
    await peer.start();
    await rig.untilState(t, 'lyon', 'up');
    // Its device is another one.
    await test.experiment.resume('host-lyon');
    await rig.assertSurvived(t, run);
  });

  it('a cable that is cut is known, and what was mended carries the same flows', async (t) => {
    const run = await rig.startFlows();
    // The site's, at the internet's side: its host sees that it has no carrier.
    await test.lab.ip('net', ['link set s0 down']);
    // Else both ends of the cable would greet each other over IPv6, outside of any tunnel.
    await test.lab.agent().sysctl([test.lab.name('net')], { 'net.ipv6.conf.s0.disable_ipv6': '1' });
    await test.lab.agent().sysctl([test.lab.name('paris')], { 'net.ipv6.conf.wan.disable_ipv6': '1' });
    await rig.untilState(t, 'paris', 'down', /the peer does not answer/);
    assert.equal((await rig.tunnel('lyon'))!.state, 'up');
    await test.lab.ip('net', ['link set s0 up']);
    await rig.untilState(t, 'paris', 'up');
    await rig.assertSurvived(t, run);
  });

  it('says which end refuses a wrong secret, and connects when it was put right', async (t) => {
    const { lab, network } = test;
    const path = secretPath(lab.directory, 'paris');
    const secret = readFileSync(path);
    writeFileSync(path, 'not the right one');
    network.ipsecPeers.get('paris')!.swanctl('--terminate', '--ike', 'gateway', '--force');
    await rig.untilState(t, 'paris', 'down', /refuses our authentication|does not answer|closed/);
    process.kill(rig.daemonOf('paris'), 'SIGKILL');
    await rig.untilState(t, 'paris', 'down', /refuses our authentication/);
    const shown = await network.gateway.command('tunnels', 'show', network.tunnelName('paris'));
    assert.match(shown.stdout, /^state +down since .*: the peer refuses our authentication/m);
    const tested = await network.gateway.command('tunnels', 'test', network.tunnelName('paris'));
    assert.equal(tested.status, 1);
    assert.match(tested.stdout, /: the peer was reached, and not agreed with: the peer refuses our auth/);
    assert.equal((await rig.tunnel('lyon'))!.state, 'up');
    writeFileSync(path, secret);
    await rig.untilState(t, 'paris', 'up');
    await test.experiment.warmUp(['paris']);
    await assertNoLeak(test.experiment);
  });

  it('comes back with the control process, when that was killed', async (t) => {
    const { gateway } = test.network;
    const run = await rig.startFlows();
    await gateway.kill('control');
    await gateway.start();
    const started = performance.now();
    await test.network.ipsecIsUp();
    t.diagnostic(`up after ${Math.round(performance.now() - started)} ms`);
    await rig.assertSurvived(t, run);
  });

  it('has nothing in clear text on the wire', () => rig.assertSealed());

  it('tells nobody a secret', async () => {
    const { lab, network } = test;
    const { gateway } = network;
    const texts = [
      gateway.output,
      ...(await Promise.all(
        [
          ['config', 'show'],
          ['status', '--json'],
          ['tunnels', 'show', network.tunnelName('paris'), '--json'],
        ].map(async (command) => (await gateway.command(...command)).stdout),
      )),
      ...filesBelow(join(lab.directory, 'state-gw')),
    ];
    for (const text of texts) assert.doesNotMatch(text, /secret of (paris|lyon)|not the right one/);
  });

  it('leaves nothing behind', async () => {
    const all = test.sites.map((site) => rig.names(site));
    const { lab, network } = test;
    assert.equal(await network.gateway.end('SIGINT'), 0);
    const links = await lab.exec('gw', 'ip', ['link']);
    for (const { namespace, wire, device } of all) {
      assert.ok(!readdirSync(NAMESPACES).includes(namespace), namespace);
      assert.doesNotMatch(links, new RegExp(`${wire}|${device}`));
    }
    assert.doesNotMatch(await lab.exec('gw', 'nft', ['list', 'ruleset']), new RegExp(STEERING_TABLE));
  });
});

function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'utf8'));
}
