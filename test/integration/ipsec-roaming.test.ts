/**
 * IPsec sites that authenticate by certificates, one over IPv6, one that calls from behind a translator: addresses that
 * change under way, IKE messages larger than a packet, SAs rekeyed from both sides, certificates that have ended. Meanwhile
 * no packet of one site reaches another, and nothing is on the wire in clear text.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { ipsecObstacle } from '../support/ipsec-peer.ts';
import { IpsecRig } from '../support/lab/ipsec-rig.ts';
import { labOptions, useNetwork } from '../support/lab/lab-test.ts';
import { GATEWAY_ID, ipsecId } from '../support/lab/sites.ts';
import { isComplete } from '../support/lab/traffic.ts';

const HOUR_MS = 3_600_000;

const skip = ipsecObstacle();
describe('IPsec tunnels whose ends move', skip === undefined ? labOptions() : { skip }, () => {
  const test = useNetwork({
    sites: [
      { name: 'paris', attachment: 'ipsec', outer: 6, ipsec: { certificates: true } },
      { name: 'lyon', attachment: 'ipsec', ipsec: { certificates: true, translated: true } },
    ],
  });
  const rig = new IpsecRig(test);

  it('says who the ends are, what was agreed on, and when certificates end', async () => {
    const { gateway } = test.network;
    const { stdout } = await gateway.command('tunnels', 'show', 'lyon-ips');
    assert.match(stdout, /^state +up/m);
    assert.match(stdout, /^peer +198\.18\.1\.2 port \d+, with a translator on the way$/m);
    assert.match(stdout, /^ike +AES_GCM_16-256\/PRF_HMAC_SHA2_384\/ECP_384, /m);
    assert.match(stdout, /^own certificate +CN=gw\.example, ends 20/m);
    assert.match(stdout, /^authority +CN=Lab Authority, ends 20/m);
    assert.match(stdout, /^peer's certificate +CN=lyon\.example, ends 20/m);
  });

  it('a translator whose address changes is followed', async (t) => {
    const run = await rig.startFlows();
    await test.network.ipsec.moveTranslator('lyon', 'second');
    await rig.assertSurvived(t, run);
    const { stdout } = await test.network.gateway.command('tunnels', 'show', 'lyon-ips');
    assert.match(stdout, /^peer +198\.18\.101\.2 /m);
  });

  it('a peer whose own address changes is followed', async (t) => {
    const run = await rig.startFlows();
    await test.lab.ip('lyon', [
      'address del 192.168.77.2/24 dev wan',
      'address add 192.168.77.3/24 dev wan',
      'route replace 198.51.100.1 via 192.168.77.1 dev wan',
    ]);
    await rig.assertSurvived(t, run);
  });

  it('loses nothing while both ends rekey', async (t) => {
    const run = await rig.startFlows({ kinds: ['udp', 'icmp'], intervalMs: 10 });
    for (let i = 0; i < 4; i++) {
      for (const peer of test.network.ipsecPeers.values()) {
        peer.swanctl('--rekey', '--child', 'net');
        peer.swanctl('--rekey', '--ike', 'gateway');
      }
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    const outcomes = await rig.assertSurvived(t, run);
    assert.ok(
      outcomes.every(isComplete),
      outcomes.map(({ sent, received }) => `${received}/${sent}`).join(' '),
    );
  });

  it('takes IKE messages in pieces where the network drops fragments', async (t) => {
    const drop = 'table inet pieces { chain before { type filter hook prerouting priority -450;';
    await test.lab.exec('net', 'nft', [
      `${drop} ip frag-off & 0x3fff != 0 drop; exthdr frag exists drop; }; }`,
    ]);
    try {
      const peer = test.network.ipsecPeers.get('paris')!;
      const { authority } = test.network.ipsec;
      peer.authenticate({
        ...authority.issue(ipsecId('paris'), { rsa: true }),
        authority: authority.certificate,
      });
      peer.swanctl('--terminate', '--ike', 'gateway', '--force');
      await rig.untilState(t, 'paris', 'down');
      await rig.untilState(t, 'paris', 'up');
      assert.match(readFileSync(peer.logPath, 'utf8'), /splitting IKE message/);
    } finally {
      await test.lab.exec('net', 'nft', ['delete table inet pieces']);
    }
  });

  for (const site of ['paris', 'lyon']) {
    it(`says that the certificate of ${site} has ended, and connects with a new one`, async (t) => {
      const { ipsec } = test.network;
      const peer = test.network.ipsecPeers.get(site)!;
      const authority = ipsec.authority.certificate;
      peer.authenticate({ ...ipsec.authority.issue(ipsecId(site), { endsInMs: -HOUR_MS }), authority });
      tryTo(() => peer.swanctl('--terminate', '--ike', 'gateway', '--force'));
      // What the gateway does not begin is begun anew by hand: a peer that was refused does not call again.
      const call = (): void => {
        if (site === 'lyon') tryTo(() => peer.swanctl('--initiate', '--child', 'net', '--timeout', '3'));
      };
      await rig.untilState(t, site, 'down');
      call();
      await rig.untilState(t, site, 'down', /certificate is not valid now/);
      peer.authenticate(ipsec.peerAuthentication(site));
      call();
      await rig.untilState(t, site, 'up');
    });
  }

  it('says that the own certificate has ended, while what is up goes on, and takes a new one', async (t) => {
    const { network } = test;
    const { authority } = network.ipsec;
    authority.issue(GATEWAY_ID, { endsInMs: -HOUR_MS });
    network.ipsecPeers.get('paris')!.swanctl('--terminate', '--ike', 'gateway', '--force');
    await rig.untilState(t, 'paris', 'down', /gw\.example\.pem has ended/);
    assert.equal((await rig.tunnel('lyon'))!.state, 'up');
    const { stdout } = await network.gateway.command('tunnels', 'show', 'lyon-ips');
    assert.match(stdout, /^own certificate +CN=gw\.example, has ended /m);
    authority.issue(GATEWAY_ID);
    await rig.untilState(t, 'paris', 'up');
    await rig.untilState(t, 'lyon', 'up');
    await test.experiment.warmUp(test.sites);
  });

  it('had nothing in clear text on the wire', () => rig.assertSealed());

  // The last one: echo requests of the gateway's own are explained by nothing that a site has sent.
  it('a test of a tunnel says what was agreed on', async () => {
    const { gateway } = test.network;
    const tested = await gateway.command('tunnels', 'test', 'lyon-ips', '--target', '10.0.1.10');
    assert.equal(tested.status, 0, tested.stdout);
    assert.match(
      tested.stdout,
      /^lyon-ips: connected to 198\.18\.101\.2 port \d+; IKE AES_GCM_16-256.*, ESP AES_GCM_16-256, MTU 1400$/m,
    );
  });
});

function tryTo(what: () => void): void {
  try {
    what();
  } catch {
    // It is refused.
  }
}
