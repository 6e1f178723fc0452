/**
 * What an SA that the daemon tells of says about a tunnel.
 *
 * The name alone does not make an SA the tunnel's: a daemon of the host's keeps SAs while another process takes over, and
 * the tunnel may be another site's by then. Where the kernel does ESP, the tunnel's ids there tell.
 *
 * Neighbours: `reconciler.ts`, `connection.ts` (ids and names).
 */
import type { ChildSa, IkeSa } from '../../vici/views.ts';
import { CHILD_NAME, connectionName, type IpsecTunnel } from './connection.ts';

const IKE_UP = ['ESTABLISHED', 'REKEYING', 'REKEYED'];
const CHILD_UP = ['INSTALLED', 'REKEYING', 'REKEYED', 'UPDATING'];

/** The one of these, all of the tunnel's name, that carries its packets. */
export function carrierOf(tunnel: IpsecTunnel, sas: readonly IkeSa[]): IkeSa | undefined {
  return sas.find(
    ({ state, children }) =>
      IKE_UP.includes(state) && children.some((child) => isInstalled(child) && isOf(tunnel, child)),
  );
}

/** Whether one of these carries packets of a tunnel that had this one's name before. */
export function hasFormer(tunnel: IpsecTunnel, sas: readonly IkeSa[]): boolean {
  const connection = connectionName(tunnel.name);
  return sas.some(
    ({ name, children }) =>
      name === connection && children.some((child) => isInstalled(child) && !isOf(tunnel, child)),
  );
}

export function isBeingMade({ state }: IkeSa): boolean {
  return state === 'CREATED' || state === 'CONNECTING';
}

function isInstalled({ name, state }: ChildSa): boolean {
  return name === CHILD_NAME && CHILD_UP.includes(state);
}

function isOf({ kernel }: IpsecTunnel, child: ChildSa): boolean {
  if (kernel === null) return true;
  if (child.reqid !== kernel.requestId) return false;
  // Of one that it is just updating, the daemon tells neither SPIs nor interface.
  if (kernel.interfaceId === null || child.spiIn === undefined) return true;
  return child.interfaceIdIn === kernel.interfaceId && child.interfaceIdOut === kernel.interfaceId;
}
