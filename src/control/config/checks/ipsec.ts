/** What must hold within an IPsec connection - a tunnel's, or what protects a GRE tunnel - and between those with the same ends. */
import type { ConfigPath } from '../config.ts';
import type { Findings } from '../findings.ts';
import { familyOf } from '../ip.ts';
import type { ConfigDocument } from '../schema.ts';

type TunnelDocument = ConfigDocument['sites'][number]['tunnels'][number];
type IpsecDocument = Pick<Extract<TunnelDocument, { type: 'ipsec' }>, 'name' | 'local' | 'remote' | 'ike'>;

/** @param ends of the tunnels before, by name: what an IKE daemon tells connections by */
export function checkIpsec(
  tunnel: IpsecDocument,
  path: ConfigPath,
  ends: Map<string, string>,
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
  ends: Map<string, string>,
  findings: Findings,
): void {
  if (remote === 'any' && ike.start !== undefined && ike.start !== 'respond') {
    findings.problem(
      [...ikePath, 'start'],
      `${ike.start} needs somebody to call, and remote is any; write respond, or an address as remote`,
    );
  }
  const idPath = [...ikePath, 'remote_id'];
  if (ike.local_id === ike.remote_id) {
    findings.problem(idPath, `${ike.remote_id} is local_id as well; write the other end's identity`);
  }
  const identity = JSON.stringify([remote, ike.local_id, ike.remote_id]);
  const other = ends.get(identity);
  if (other === undefined) {
    ends.set(identity, name);
    return;
  }
  findings.problem(
    idPath,
    `${ike.remote_id} does not tell this tunnel from ${other} (same remote, local_id and remote_id); write another remote_id`,
  );
}
