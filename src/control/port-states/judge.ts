/**
 * In which state a port is, from everything that is known of it. The first thing that is wrong says why:
 *
 * ```
 *  configuration ── data plane ── connection (IKE) ── device ── next hops ── health checks ── up
 *    disabled         down           its own           down     down, degraded  down, degraded
 * ```
 *
 * Pure. Neighbours: `port-states.ts` (remembers, tells), `tunnel/port-state.ts` (the words).
 */
import { NEXT_HOP_ASKED, NEXT_HOP_BITS, NEXT_HOP_SILENT } from '../../flow/counters.ts';
import type { PortCondition } from '../../tunnel/port-state.ts';
import type { FamilyAddresses } from '../config/config.ts';
import type { TunnelHealthStatus } from '../health/tunnel-health.ts';

/** What is known of a port now. */
export interface PortFindings {
  readonly isEnabled: boolean;
  /** Whether a data plane runs the plan. */
  readonly isForwarded: boolean;
  /** What agrees with the other end says; undefined where nothing has to be agreed on, or nobody does it now. */
  readonly connection: PortCondition | undefined;
  /** Whether the data plane can use its device. */
  readonly isOpen: boolean;
  readonly device: string;
  /** What the host lacks for it; undefined: nothing that is known. */
  readonly lack: string | undefined;
  readonly nextHops: FamilyAddresses;
  /** As `PORT_NEXT_HOPS` has them. */
  readonly nextHopBits: number;
  /** null: it is not checked. */
  readonly health: TunnelHealthStatus | null;
}

export type Judgement = Omit<PortCondition, 'sinceMs'>;

/** @param former what was said of it last */
export function judgePort(port: PortFindings, former: Judgement): Judgement {
  const { connection, health } = port;
  if (!port.isEnabled) return { state: 'disabled', reason: 'the configuration says so' };
  if (!port.isForwarded) return { state: 'down', reason: 'no data plane forwards' };
  if (connection !== undefined && connection.state !== 'up') {
    return { state: connection.state, reason: connection.reason };
  }
  // What was agreed on has just brought the device, and the data plane is about to get it.
  const isNew = connection !== undefined && port.device === '' && port.lack === undefined;
  if (isNew && former.state === 'connecting') return former;
  if (!port.isOpen) return { state: 'down', reason: port.lack ?? deviceReason(port.device) };
  return judgeNextHops(port, former) ?? judgeHealth(health) ?? { state: 'up', reason: null };
}

function deviceReason(device: string): string {
  return device === '' ? 'it has no device' : `its device ${device} is not usable`;
}

/** undefined: nothing is wrong with them. */
function judgeNextHops({ nextHops, nextHopBits }: PortFindings, former: Judgement): Judgement | undefined {
  const hops = [
    { address: nextHops.ipv4, bits: nextHopBits },
    { address: nextHops.ipv6, bits: nextHopBits >> NEXT_HOP_BITS },
  ].flatMap(({ address, bits }) => (address === undefined ? [] : [{ address, bits }]));
  const namesOf = (bit: number): string =>
    hops.flatMap(({ address, bits }) => ((bits & bit) === 0 ? [] : [address])).join(' and ');
  const silent = namesOf(NEXT_HOP_SILENT);
  const works = hops.some(({ bits }) => (bits & (NEXT_HOP_SILENT | NEXT_HOP_ASKED)) === 0);
  if (silent !== '') {
    return { state: works ? 'degraded' : 'down', reason: silentReason(silent) };
  }
  const asked = namesOf(NEXT_HOP_ASKED);
  if (asked === '' || works) return undefined;
  // It is asked again and again: what was said of it holds until it has answered, or has not.
  if (former.state === 'up' || former.state === 'degraded') return former;
  if (former.state === 'down') return { state: 'down', reason: silentReason(asked) };
  return { state: 'connecting', reason: `waits for next hop ${asked} to answer` };
}

function silentReason(nextHops: string): string {
  return nextHops.includes(' and ')
    ? `next hops ${nextHops} do not answer`
    : `next hop ${nextHops} does not answer`;
}

/** In words that stay the same while the state does: the share is in the health. */
function judgeHealth(health: TunnelHealthStatus | null): Judgement | undefined {
  if (health?.state === 'down') {
    return { state: 'down', reason: `health checks: ${health.target} does not answer` };
  }
  if (health?.state !== 'degraded') return undefined;
  return { state: 'degraded', reason: `health checks: ${health.target} leaves some unanswered` };
}
