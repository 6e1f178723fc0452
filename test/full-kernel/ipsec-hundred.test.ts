/**
 * A hundred IPsec tunnels by the kernel, with one daemon: how long they take to come up, also after the daemon was killed,
 * and what memory they take. All other ends are in one namespace, by one daemon. Runs in the guest of `scripts/lab`.
 */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { ViciClient } from '../../src/vici/client.ts';
import { ipsecObstacle } from '../support/ipsec-peer.ts';
import { HomewardProcess } from '../support/lab/homeward-process.ts';
import { labOptions } from '../support/lab/lab-test.ts';
import { Lab } from '../support/lab.ts';
import { eventually } from '../support/patience.ts';

const TUNNELS = 100;
const GATEWAY = '198.51.100.1';
const NUMBERS = Array.from({ length: TUNNELS }, (_, at) => at + 1);
const remote = (number: number): string => `198.18.0.${number}`;

const skip = ipsecObstacle();
describe('a hundred IPsec tunnels', skip === undefined ? labOptions() : { skip }, () => {
  let lab: Lab;
  let gateway: HomewardProcess;
  let peers: ViciClient;
  const ikeSas = async (): Promise<number> => (await peers.ikeSas()).length;

  before(async () => {
    lab = new Lab();
    await lab.addNamespaces(['gw', 'peers']);
    await lab.addLinks([
      [
        { namespace: 'gw', device: 'up0' },
        { namespace: 'peers', device: 'wan' },
      ],
    ]);
    await lab.ip('gw', [`addr add ${GATEWAY}/24 dev up0`, 'route add 198.18.0.0/24 via 198.51.100.254']);
    await lab.ip('peers', [
      'addr add 198.51.100.254/24 dev wan',
      ...NUMBERS.map((number) => `addr add ${remote(number)}/32 dev wan`),
    ]);
    const socketPath = `${lab.directory}/peers.vici`;
    const configuration = `${lab.directory}/peers.conf`;
    writeFileSync(
      configuration,
      `charon-systemd {
  install_routes = no
  threads = 32
  plugins { vici { socket = unix://${socketPath} } }
  journal { default = -1 }
  syslog { daemon { default = -1 } }
}
`,
    );
    lab.spawn('peers', '/usr/sbin/charon-systemd', [], {
      PATH: process.env.PATH,
      STRONGSWAN_CONF: configuration,
    });
    await eventually('the peers listen', () => existsSync(socketPath));
    peers = new ViciClient({ socketPath });
    peers.start();
    await eventually('the peers answer', () => peers.state === 'up');
    await peers.request('load-shared', { id: 'all', type: 'IKE', data: 'secret of all' });
    for (const number of NUMBERS) {
      await peers.request('load-conn', {
        [`peer-${number}`]: {
          version: 2,
          local_addrs: [remote(number)],
          remote_addrs: [GATEWAY],
          local: { auth: 'psk', id: `site${number}.example` },
          remote: { auth: 'psk', id: 'gw.example' },
          children: {
            net: {
              local_ts: ['10.0.1.0/24', 'fd00:1::/64'],
              remote_ts: ['0.0.0.0/0', '::/0'],
              esp_proposals: ['aes256gcm16'],
              if_id_in: number,
              if_id_out: number,
            },
          },
        },
      });
    }
    const psk = `${lab.directory}/psk`;
    writeFileSync(psk, 'secret of all', { mode: 0o600 });
    gateway = new HomewardProcess(lab, 'gw', {
      version: 1,
      gateway: { name: 'gw' },
      sites: NUMBERS.map((number) => ({
        name: `site${number}`,
        prefixes: ['10.0.1.0/24', 'fd00:1::/64'],
        tunnels: [
          {
            name: `t${number}`,
            type: 'ipsec',
            local: GATEWAY,
            remote: remote(number),
            ike: {
              local_id: 'gw.example',
              remote_id: `site${number}.example`,
              psk: { file: psk },
              start: 'initiate',
            },
            driver: 'xfrm',
          },
        ],
      })),
    });
  });
  after(async () => {
    peers?.stop();
    await lab?.remove();
  });

  /** Until all tunnels are up, milliseconds. */
  async function untilUp(): Promise<number> {
    const started = performance.now();
    let up = 0;
    const wait = eventually(
      'all are up',
      async () => {
        const tunnels = (await gateway.status())?.tunnels ?? [];
        up = tunnels.filter(({ state }) => state === 'up').length;
        return up === TUNNELS;
      },
      30_000,
    );
    await wait.catch((error: Error) => {
      throw new Error(`${error.message} (${up}):\n${gateway.output.slice(-4000)}`);
    });
    return Math.round(performance.now() - started);
  }

  function daemonPid(): number {
    const pid = readdirSync('/proc').find((entry) => {
      try {
        return (
          readFileSync(`/proc/${entry}/comm`, 'latin1').startsWith('charon') &&
          readFileSync(`/proc/${entry}/environ`, 'latin1').includes(`${gateway.runtimeDirectory}/`)
        );
      } catch {
        return false;
      }
    });
    assert.ok(pid !== undefined, 'no daemon runs');
    return Number(pid);
  }

  const residentKib = (pid: number): number =>
    Number(/VmRSS:\s*(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]);

  it('come up', async (t) => {
    await gateway.start();
    t.diagnostic(`all up ${await untilUp()} ms after the gateway forwarded`);
    t.diagnostic(
      `resident: daemon ${residentKib(daemonPid())} KiB, control ${residentKib(gateway.controlPid)} KiB`,
    );
    assert.equal(await ikeSas(), TUNNELS);
  });

  it('come up again when the daemon was killed', async (t) => {
    const former = daemonPid();
    process.kill(former, 'SIGKILL');
    await eventually('another daemon runs', () => {
      try {
        return daemonPid() !== former;
      } catch {
        return false;
      }
    });
    const started = performance.now();
    await eventually('some are down', async () =>
      (await gateway.status())?.tunnels.some(({ state }) => state !== 'up'),
    );
    await untilUp();
    t.diagnostic(`all up ${Math.round(performance.now() - started)} ms after the next daemon was started`);
  });

  it('leave nothing', async () => {
    assert.equal(await gateway.end('SIGINT'), 0);
    assert.equal((await lab.exec('gw', 'ip', ['xfrm', 'state', 'list'])).trim(), '');
    assert.equal((await lab.exec('gw', 'ip', ['xfrm', 'policy', 'list'])).trim(), '');
    assert.doesNotMatch(await lab.exec('gw', 'ip', ['link']), /xfrm|t\d+-/);
  });
});
