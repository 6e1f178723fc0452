/**
 * A hundred IPsec tunnels of a gateway, all other ends in one namespace, by one daemon that is not homeward's; how long they
 * take to come up, and what they cost.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { ViciClient } from '../../../src/vici/client.ts';
import { USER_SPACE } from '../ipsec-peer.ts';
import type { Lab } from '../lab.ts';
import { eventually } from '../patience.ts';
import { HomewardProcess } from './homeward-process.ts';

export const TUNNELS = 100;
const GATEWAY = '198.51.100.1';
const NUMBERS = Array.from({ length: TUNNELS }, (_, at) => at + 1);
const SECRET = 'secret of all';
const UP_MS = 60_000;
const remote = (number: number): string => `198.18.0.${number}`;

/** What is behind the other end of a tunnel, if that does ESP itself; without the last number. */
const network = (number: number): string => `10.0.${number}`;

export type Driver = 'xfrm' | 'libipsec';

export class HundredTunnels {
  readonly gateway: HomewardProcess;
  readonly #peers: ViciClient;

  private constructor(gateway: HomewardProcess, peers: ViciClient) {
    this.gateway = gateway;
    this.#peers = peers;
  }

  /** Makes namespaces `gw` and `peers` of a lab, and starts the other ends; the gateway is yet to be started. */
  static async create(lab: Lab, driver: Driver): Promise<HundredTunnels> {
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
      ...NUMBERS.flatMap((number) => [
        `addr add ${remote(number)}/32 dev wan`,
        `addr add ${network(number)}.1/32 dev wan`,
      ]),
    ]);
    const secretPath = `${lab.directory}/psk`;
    writeFileSync(secretPath, SECRET, { mode: 0o600 });
    const gateway = new HomewardProcess(lab, 'gw', gatewayConfiguration(driver, secretPath));
    return new HundredTunnels(gateway, await startPeers(lab, driver));
  }

  /** How many of the other ends have an IKE SA. */
  async connected(): Promise<number> {
    const names = (await this.#peers.ikeSas()).map(({ name }) => name);
    // One whose end is not known yet has no name.
    return new Set(names.filter((name) => name.startsWith('peer-'))).size;
  }

  /** Until all tunnels are up, milliseconds. */
  async untilUp(): Promise<number> {
    const started = performance.now();
    let down: readonly string[] = [];
    const wait = eventually(
      'all are up',
      async () => {
        const tunnels = (await this.gateway.status())?.tunnels ?? [];
        down = tunnels.flatMap(({ name, state, reason }) =>
          state === 'up' ? [] : [`${name}: ${state}, ${reason}`],
        );
        return tunnels.length === TUNNELS && down.length === 0;
      },
      UP_MS,
    );
    await wait.catch((error: Error) => {
      throw new Error(`${error.message}; not up: ${down.join('; ')}\n${this.gateway.output.slice(-4000)}`);
    });
    return Math.round(performance.now() - started);
  }

  /** Until one of them is not up. */
  async untilDown(): Promise<void> {
    await eventually('some are down', async () =>
      (await this.gateway.status())?.tunnels.some(({ state }) => state !== 'up'),
    );
  }

  /** Pids of the gateway's IKE daemons. */
  daemons(): number[] {
    return readdirSync('/proc')
      .filter(isNumber)
      .map(Number)
      .filter((pid) => this.#isDaemon(pid));
  }

  /** What the daemons have of the machine's memory, and control, KiB. Pages that processes share are divided among them. */
  memory(): { readonly daemons: number; readonly control: number } {
    const daemons = this.daemons().reduce((sum, pid) => sum + proportionalKib(pid), 0);
    return { daemons, control: proportionalKib(this.gateway.controlPid) };
  }

  stop(): void {
    this.#peers.stop();
  }

  #isDaemon(pid: number): boolean {
    try {
      return (
        readFileSync(`/proc/${pid}/comm`, 'latin1').startsWith('charon') &&
        readFileSync(`/proc/${pid}/environ`, 'latin1').includes(`${this.gateway.runtimeDirectory}/`)
      );
    } catch {
      // It has ended.
      return false;
    }
  }
}

function isNumber(entry: string): boolean {
  return /^\d+$/.test(entry);
}

function proportionalKib(pid: number): number {
  return Number(/^Pss:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1'))?.[1]);
}

function gatewayConfiguration(driver: Driver, secretPath: string): Record<string, unknown> {
  return {
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
            psk: { file: secretPath },
            start: 'initiate',
          },
          driver,
        },
      ],
    })),
  };
}

async function startPeers(lab: Lab, driver: Driver): Promise<ViciClient> {
  const socketPath = `${lab.directory}/peers.vici`;
  const configuration = `${lab.directory}/peers.conf`;
  const esp = driver === 'xfrm' ? '' : 'kernel-libipsec ';
  writeFileSync(
    configuration,
    `charon-systemd {
  load_modular = no
  load = random nonce aesni aes sha1 sha2 hmac gcm kdf openssl pem pubkey ${esp}kernel-netlink socket-default vici
${driver === 'xfrm' ? '  install_routes = no\n' : ''}  threads = 32
  plugins {
    vici { socket = unix://${socketPath} }
${driver === 'xfrm' ? '' : USER_SPACE}  }
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
  const peers = new ViciClient({ socketPath });
  peers.start();
  await eventually('the peers answer', () => peers.state === 'up');
  await peers.request('load-shared', { id: 'all', type: 'IKE', data: SECRET });
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
            // A daemon that does ESP itself knows SAs by their selectors alone; the kernel knows them by their interface.
            local_ts: driver === 'xfrm' ? ['10.0.1.0/24', 'fd00:1::/64'] : [`${network(number)}.0/24`],
            remote_ts: driver === 'xfrm' ? ['0.0.0.0/0', '::/0'] : ['0.0.0.0/0'],
            esp_proposals: ['aes256gcm16'],
            ...(driver === 'xfrm' ? { if_id_in: number, if_id_out: number } : {}),
          },
        },
      },
    });
  }
  return peers;
}
