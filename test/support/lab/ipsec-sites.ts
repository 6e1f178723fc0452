/**
 * IPsec sites of the lab: plain strongSwan or libreswan at the host, by certificates or a pre-shared key, and maybe behind a
 * translator whose address can change.
 *
 * ```
 *  host (charon) ─ wan ─────────────────────────────── sN ─ net ── up0 ─ gw
 *  host (charon) ─ wan ── lan ─ NAME-nat ─ wan ─────── sN ─ net ── up0 ─ gw     translated
 * ```
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { IpsecPeer, type PeerAuthentication } from '../ipsec-peer.ts';
import type { Lab } from '../lab.ts';
import { LIBRESWAN_DEVICE, LIBRESWAN_MTU, LibreswanPeer } from '../libreswan-peer.ts';
import { TestAuthority } from '../test-authority.ts';
import {
  GATEWAY_ID,
  ipsecEnds,
  ipsecId,
  type NetworkSpec,
  outer,
  SITE_ADDRESSES,
  type SiteSpec,
  secretPath,
} from './sites.ts';

/** Everything that leaves has the translator's own address; what has that is forgotten with it. */
const TRANSLATION =
  'table ip translation { chain out { type nat hook postrouting priority srcnat; oifname "wan" masquerade; }; }';

/** Of the XFRM interface at a site's end. */
const PEER_INTERFACE_ID = 1;
const INTERFACE = `if_id_in = ${PEER_INTERFACE_ID}\nif_id_out = ${PEER_INTERFACE_ID}`;
const GRE_SELECTORS = 'local_ts = dynamic[gre]\nremote_ts = dynamic[gre]\nmode = transport';
/** What the sites have behind their ends. */
const NETWORKS = ['10.0.1.0/24', 'fd00:1::/64'];

export class IpsecSites {
  /** strongSwan's. */
  readonly peers = new Map<string, IpsecPeer>();
  readonly libreswanPeers = new Map<string, LibreswanPeer>();
  readonly #lab: Lab;
  readonly #spec: NetworkSpec;
  #authority: TestAuthority | undefined;

  constructor(lab: Lab, spec: NetworkSpec) {
    this.#lab = lab;
    this.#spec = spec;
  }

  /** The lab's authority, whose certificate for the gateway lies beside its own; made at first use. */
  get authority(): TestAuthority {
    if (this.#authority === undefined) {
      this.#authority = new TestAuthority(this.#lab.directory, 'Lab Authority');
      this.#authority.issue(GATEWAY_ID);
    }
    return this.#authority;
  }

  /** What an IPsec site's peer authenticates by, if it does so rightly. */
  peerAuthentication(site: string): PeerAuthentication {
    if (this.#spec.sites.find(({ name }) => name === site)?.ipsec?.certificates) {
      return { ...this.authority.issue(ipsecId(site)), authority: this.authority.certificate };
    }
    return { secret: readFileSync(secretPath(this.#lab.directory, site), 'utf8').trim() };
  }

  /** The translator of a site gets its other address; what it had translated is forgotten. */
  async moveTranslator(site: string, to: 'first' | 'second'): Promise<void> {
    const at = this.#spec.sites.findIndex(({ name }) => name === site);
    const [former, next] = to === 'first' ? [at + 100, at] : [at, at + 100];
    await this.#lab.ip(`${site}-nat`, [
      `address del ${outer(former, 2)}/30 dev wan`,
      `address add ${outer(next, 2)}/30 dev wan`,
      `route replace 0.0.0.0/0 via ${outer(next, 1)} dev wan`,
    ]);
  }

  /** What libreswan has logged, of all sites. */
  get libreswanLogs(): string {
    return [...this.libreswanPeers.values()].map(({ log }) => log).join('\n');
  }

  /** Resolves when every site with libreswan has all of its child SAs, and routes for both families. */
  async libreswanIsConnected(): Promise<void> {
    for (const [name, peer] of this.libreswanPeers) {
      await peer.connected();
      const to = `dev ${LIBRESWAN_DEVICE} mtu ${LIBRESWAN_MTU}`;
      await this.#lab.ip(name, [
        `route replace 0.0.0.0/0 ${to} src ${SITE_ADDRESSES[0]}`,
        `route replace ::/0 ${to} src ${SITE_ADDRESSES[1]}`,
      ]);
    }
  }

  /**
   * In user space the peer makes its TUN device and the routes to it; the host's addresses are on its loopback interface.
   * Otherwise they are on the kernel's device: an XFRM interface, made here, or GRE.
   */
  async add(site: SiteSpec, at: number): Promise<void> {
    const lab = this.#lab;
    const { name, attachment, ipsec = {} } = site;
    if (ipsec.translated) await lab.exec(`${name}-nat`, 'nft', [TRANSLATION]);
    writeFileSync(secretPath(lab.directory, name), `secret of ${name}\n`, { mode: 0o600 });
    if (attachment === 'ipsec' || ipsec.libreswan) {
      await lab.ip(
        name,
        SITE_ADDRESSES.map((address) =>
          address.includes(':') ? `addr add ${address}/128 dev lo nodad` : `addr add ${address}/32 dev lo`,
        ),
      );
    }
    if (attachment === 'ipsec-kernel' && !ipsec.libreswan) {
      await lab.ip(name, [`link add eth0 mtu 1400 type xfrm dev wan if_id ${PEER_INTERFACE_ID}`]);
    }
    const ends = {
      namespace: lab.name(name),
      directory: `${lab.directory}/peer-${name}`,
      remote: ipsecEnds(site, at).local,
      localId: ipsecId(name),
      remoteId: GATEWAY_ID,
      authentication: this.peerAuthentication(name),
    };
    if (ipsec.libreswan) {
      const peer = new LibreswanPeer({ ...ends, local: ipsecEnds(site, at).remote, networks: NETWORKS });
      this.libreswanPeers.set(name, peer);
      await peer.start();
      return;
    }
    const peer = new IpsecPeer({
      ...ends,
      // Where its address may change, it is not bound to one.
      local: ipsec.translated ? '%any' : ipsecEnds(site, at).remote,
      networks: NETWORKS,
      kernel: attachment !== 'ipsec',
      ...(attachment === 'ipsec-gre' ? { selectors: GRE_SELECTORS } : {}),
      connection: `${ipsec.translated ? 'keyingtries = 0' : ''}\n${ipsec.peer?.connection ?? ''}`,
      child: [
        ipsec.translated ? 'start_action = start\ndpd_action = restart\nclose_action = start' : '',
        attachment === 'ipsec-kernel' ? INTERFACE : '',
        // From the first packet on: without, GRE leaves in clear text until there is an SA.
        attachment === 'ipsec-gre' ? 'start_action = trap' : '',
        ipsec.peer?.child ?? '',
      ].join('\n'),
    });
    this.peers.set(name, peer);
    await peer.start();
  }
}
