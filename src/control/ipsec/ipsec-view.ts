/** How an `ipsec` tunnel is, in detail, as the API gives it (`api/schemas/ipsec.ts` checks the same shape). */

import type { IpsecTraffic, Rekeyings } from '../../tunnel/ipsec/sa-traffic.ts';
import type { IpsecDetails } from '../../tunnel/ipsec/tracked-tunnel.ts';
import type { ChildSa, IkeSa } from '../../vici/views.ts';
import type { TunnelCertificate } from './certificates.ts';

export interface IpsecView {
  readonly localId: string;
  readonly remoteId: string;
  /** null: there is no SA. */
  readonly ike: {
    /** What was agreed on, such as `AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384`. */
    readonly proposal: string;
    /** Where the peer is now. */
    readonly peer: string;
    readonly peerPort: number;
    /** Whether addresses are translated on the way. */
    readonly translated: boolean;
    readonly establishedSeconds: number;
    /** Until it is rekeyed; null: it is not known. */
    readonly rekeySeconds: number | null;
  } | null;
  /** null: there is no SA. */
  readonly child: {
    readonly proposal: string;
    /** Whether ESP travels in UDP. */
    readonly encapsulated: boolean;
    readonly localSelectors: readonly string[];
    readonly remoteSelectors: readonly string[];
    readonly installedSeconds: number;
    readonly rekeySeconds: number | null;
  } | null;
  /** Of IP packets inside, over all SAs since control has begun. */
  readonly traffic: IpsecTraffic;
  readonly rekeyings: Rekeyings;
  readonly certificates: readonly {
    readonly whose: TunnelCertificate['whose'];
    readonly subject: string;
    /** ISO 8601, UTC. */
    readonly ends: string;
  }[];
}

export function ipsecView(
  ids: { readonly localId: string; readonly remoteId: string },
  details: IpsecDetails | undefined,
  certificates: readonly TunnelCertificate[],
): IpsecView {
  const ike = details?.sas.find(({ state }) => state === 'ESTABLISHED') ?? details?.sas.at(-1);
  const child = ike?.children.find(({ state }) => state === 'INSTALLED') ?? ike?.children.at(-1);
  return {
    localId: ids.localId,
    remoteId: ids.remoteId,
    ike: ike === undefined ? null : ikeView(ike),
    child: child === undefined ? null : childView(child),
    traffic: details?.traffic ?? { bytesIn: 0, packetsIn: 0, bytesOut: 0, packetsOut: 0 },
    rekeyings: details?.rekeyings ?? { ike: 0, child: 0 },
    certificates: certificates.map(({ whose, subject, notAfterMs }) => ({
      whose,
      subject,
      ends: new Date(notAfterMs).toISOString(),
    })),
  };
}

function ikeView({ encryption, integrity, prf, keyExchange, remote, nat, ...sa }: IkeSa) {
  return {
    proposal: joined(encryption, integrity, prf, keyExchange),
    peer: remote.host ?? '',
    peerPort: remote.port ?? 0,
    // `any` holds for one, too, that our own daemon pretends (driver `libipsec`).
    translated: nat.local || nat.remote,
    establishedSeconds: sa.establishedSeconds ?? 0,
    rekeySeconds: sa.rekeySeconds ?? null,
  };
}

function childView({ encryption, integrity, keyExchange, ...sa }: ChildSa) {
  return {
    proposal: joined(encryption, integrity, keyExchange),
    encapsulated: sa.isEncapsulated,
    localSelectors: sa.localTrafficSelectors,
    remoteSelectors: sa.remoteTrafficSelectors,
    installedSeconds: sa.installedSeconds ?? 0,
    rekeySeconds: sa.rekeySeconds ?? null,
  };
}

function joined(...algorithms: readonly (string | undefined)[]): string {
  return algorithms.filter((algorithm) => algorithm !== undefined).join('/');
}
