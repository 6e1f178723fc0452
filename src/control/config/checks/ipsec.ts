/** What must hold within an IPsec connection - a tunnel's, or what protects a GRE tunnel - and between those with the same ends. */
import type { ConfigPath } from '../config.ts';
import type { Findings } from '../findings.ts';
import { sameIdentityKey } from '../identity.ts';
import { familyOf } from '../ip.ts';
import type { ConfigDocument } from '../schema.ts';

type TunnelDocument = ConfigDocument['sites'][number]['tunnels'][number];
type IpsecDocument = Pick<Extract<TunnelDocument, { type: 'ipsec' }>, 'name' | 'local' | 'remote' | 'ike'>;

/** What an IKE daemon tells connections by, of the tunnels before. */
export class KnownEnds {
  /** Name of the tunnel with this remote and these identities. */
  readonly tunnels = new Map<string, string>();
  /** By identities alone: where the peer calls from, the daemon may not ask. */
  readonly identities = new Map<string, { readonly tunnel: string; readonly site: ConfigPath[number] }>();
}

export function checkIpsec(
  tunnel: IpsecDocument,
  path: ConfigPath,
  ends: KnownEnds,
  findings: Findings,
): void {
  const { local, remote } = tunnel;
  const remotePath = [...path, 'remote'];
  if (remote !== 'any') {
    if (familyOf(remote) !== familyOf(local)) {
      findings.problem(
        remotePath,
        `${remote} is not of the same family as local (${local}); write an IPv${familyOf(local)} address`,
      );
    } else if (local === remote) {
      findings.problem(remotePath, `${remote} is local as well; write the other end's address`);
    }
  }
  checkIke(tunnel, [...path, 'ike'], ends, findings);
}

/** As {@link checkIpsec}, of what is not said of its addresses already. */
export function checkIke(
  { name, remote, ike }: IpsecDocument,
  ikePath: ConfigPath,
  ends: KnownEnds,
  findings: Findings,
): void {
  if (remote === 'any' && ike.start !== undefined && ike.start !== 'respond') {
    findings.problem(
      [...ikePath, 'start'],
      `${ike.start} needs somebody to call, and remote is any; write respond, or an address as remote`,
    );
  }
  const idPath = [...ikePath, 'remote_id'];
  const [localId, remoteId] = [sameIdentityKey(ike.local_id), sameIdentityKey(ike.remote_id)];
  if (localId === remoteId) {
    findings.problem(idPath, `${ike.remote_id} is local_id as well; write the other end's identity`);
  }
  const same = JSON.stringify([remote, localId, remoteId]);
  const other = ends.tunnels.get(same);
  if (other !== undefined) {
    findings.problem(
      idPath,
      `${ike.remote_id} does not tell this tunnel from ${other} (same remote, local_id and remote_id); write another remote_id`,
    );
    return;
  }
  ends.tunnels.set(same, name);
  // Secrets belong to identities, not to addresses: who knows one site's could call as the other.
  const [, site] = ikePath;
  const pair = JSON.stringify([localId, remoteId]);
  const known = ends.identities.get(pair);
  if (known === undefined) ends.identities.set(pair, { tunnel: name, site: site! });
  else if (known.site !== site) {
    findings.problem(
      idPath,
      `${ike.remote_id} is the other end of ${known.tunnel} as well, which is of another site (same local_id and remote_id); write another remote_id`,
    );
  }
}
