/**
 * A tunnel in the daemon's words: the VICI messages that load its connection and its credentials.
 *
 * Every tunnel has the selectors 0.0.0.0/0 and ::/0 at our end: which site a packet is of is said by the device that
 * it came by, and what a site may send is the pipeline's to judge. The peer narrows them as it likes (RFC 7296,
 * section 2.9). With kernel ESP, `if_id` keeps the tunnels apart. Where ESP protects a GRE tunnel (RFC 2784) instead,
 * the selectors are GRE between the two ends, in transport mode.
 *
 * A dead peer is known after a DPD interval and three retransmissions: see `charon.ts` for those.
 *
 * Neighbours: `proposals.ts`, `reconciler.ts` (when what is sent).
 */
import type { ViciInput } from '../../vici/message.ts';
import type { Proposal } from './proposals.ts';

/** What begins the names of everything that is ours in a daemon; nothing else there is ever touched. */
export const OWN_PREFIX = 'homeward-';
/** Name of the one child of every connection. */
export const CHILD_NAME = 'site';

/** Beyond the wanted time until rekeying, until an SA is given up for want of it. */
const LIFE_FACTOR = 1.1;
/** Packets that may be overtaken (RFC 4303, section 3.4.3). */
const REPLAY_WINDOW = 128;

export type IpsecStart = 'initiate' | 'respond' | 'both';

/** An `ipsec` tunnel as this module wants it; secrets are read apart from it. */
export interface IpsecTunnel {
  /** The tunnel's, and its device's. */
  readonly name: string;
  readonly local: string;
  /** null: a peer at any address, which calls us. */
  readonly remote: string | null;
  readonly localId: string;
  readonly remoteId: string;
  readonly ikeProposals: readonly Proposal[];
  readonly espProposals: readonly Proposal[];
  readonly ikeRekeyMs: number;
  readonly childRekeyMs: number;
  readonly dpdMs: number;
  readonly replayProtection: boolean;
  readonly start: IpsecStart;
  /** What is sent by it: whatever is routed into its device, or the GRE packets between both ends. */
  readonly protects: 'everything' | 'gre';
  /** What its SAs and policies are known by in a kernel that does ESP; null: a daemon of its own does it. */
  readonly kernel: KernelIds | null;
}

/** Of one tunnel in a kernel that does ESP, and of no other there (`kernel-host.ts`). */
export interface KernelIds {
  readonly requestId: number;
  /** Of its XFRM interface; null where it protects GRE. */
  readonly interfaceId: number | null;
}

/** What authenticates both ends, as bytes. Not to be printed. */
export type IpsecCredentials =
  | { readonly kind: 'psk'; readonly secret: Uint8Array }
  | {
      readonly kind: 'certificate';
      /** Our certificate, and those that its chain needs; PEM or DER each. */
      readonly certificates: readonly Uint8Array[];
      readonly key: Uint8Array;
      /** Who must have signed the peer's. */
      readonly authorities: readonly Uint8Array[];
    };

/** Name of a tunnel's connection in the daemon. */
export function connectionName(tunnel: string): string {
  return `${OWN_PREFIX}${tunnel}`;
}

/** The daemon's name of an SA whose peer has not said yet who it is. */
export const NO_CONNECTION = '(unnamed)';

/** The tunnel of a connection; undefined if it is not ours. */
export function tunnelOfConnection(connection: string): string | undefined {
  return connection.startsWith(OWN_PREFIX) ? connection.slice(OWN_PREFIX.length) : undefined;
}

/** `load-conn` */
export function connectionMessage(tunnel: IpsecTunnel, credentials: IpsecCredentials): ViciInput {
  const isPsk = credentials.kind === 'psk';
  const seconds = (ms: number): string => `${Math.max(1, Math.round(ms / 1000))}s`;
  const interfaceId = tunnel.kernel?.interfaceId ?? undefined;
  const isGre = tunnel.protects === 'gre';
  const selectors = isGre ? ['dynamic[gre]'] : ['0.0.0.0/0', '::/0'];
  const dpdAction = tunnel.start === 'respond' ? 'clear' : 'restart';
  return {
    [connectionName(tunnel.name)]: {
      version: 2,
      local_addrs: [tunnel.local],
      remote_addrs: [tunnel.remote ?? '%any'],
      proposals: tunnel.ikeProposals.map(({ text }) => text),
      dpd_delay: seconds(tunnel.dpdMs),
      rekey_time: seconds(tunnel.ikeRekeyMs),
      over_time: seconds(tunnel.ikeRekeyMs * (LIFE_FACTOR - 1)),
      // For ever.
      keyingtries: 0,
      mobike: !followsByMessages(tunnel),
      fragmentation: true,
      local: {
        auth: isPsk ? 'psk' : 'pubkey',
        id: tunnel.localId,
        ...(isPsk ? {} : { certs: [...credentials.certificates] }),
      },
      remote: {
        auth: isPsk ? 'psk' : 'pubkey',
        id: tunnel.remoteId,
        ...(isPsk ? {} : { cacerts: [...credentials.authorities] }),
      },
      children: {
        [CHILD_NAME]: {
          local_ts: selectors,
          remote_ts: selectors,
          mode: isGre ? 'transport' : 'tunnel',
          esp_proposals: tunnel.espProposals.map(({ text }) => text),
          rekey_time: seconds(tunnel.childRekeyMs),
          life_time: seconds(tunnel.childRekeyMs * LIFE_FACTOR),
          dpd_action: dpdAction,
          // Who begins is the reconciler's to say; a peer that closes the child is called again by it, too.
          start_action: 'none',
          close_action: 'none',
          replay_window: tunnel.replayProtection ? REPLAY_WINDOW : 0,
          reqid: tunnel.kernel?.requestId,
          if_id_in: interfaceId,
          if_id_out: interfaceId,
          // Where nothing takes it, what comes out of the uplink is known for decrypted: the guard and the sockets refuse it.
          set_mark_in: tunnel.kernel === null ? undefined : String(tunnel.kernel.requestId),
          // A path that is too narrow gets fragments: the kernel could not tell the sender.
          copy_df: interfaceId === undefined ? undefined : false,
        },
      },
    },
  };
}

/**
 * A peer whose address changes behind a translator does not know. With kernel ESP the kernel tells the daemon that packets
 * come from elsewhere; without, the daemon learns it from IKE messages alone, and only where no MOBIKE (RFC 4555) was agreed
 * on: else it waits for the peer to say so, for ever if that has not looked before.
 */
function followsByMessages({ remote, kernel }: IpsecTunnel): boolean {
  return remote === null && kernel === null;
}

/** The command and its message that hand over what authenticates us. */
export function secretRequest(
  tunnel: IpsecTunnel,
  credentials: IpsecCredentials,
): readonly [command: string, message: ViciInput] {
  if (credentials.kind === 'certificate') return ['load-key', { type: 'any', data: credentials.key }];
  return [
    'load-shared',
    {
      id: connectionName(tunnel.name),
      type: 'IKE',
      data: credentials.secret,
      // Two tunnels may have a peer's identity in common: only both identities name the secret.
      owners: [tunnel.localId, tunnel.remoteId],
    },
  ];
}
