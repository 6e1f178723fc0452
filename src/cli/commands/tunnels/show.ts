import { Args } from '@oclif/core';
import { showTunnel } from '../../../api/client/overview.ts';
import type { TunnelDetailsBody } from '../../../api/schemas/overview.ts';
import { HomewardCommand } from '../../command.ts';
import { CONNECTION_FLAGS } from '../../connection.ts';
import { ipsecRows } from '../../ipsec-rows.ts';
import { counterRows } from '../../port-cells.ts';
import { table } from '../../table.ts';
import { paintState } from '../../terminal.ts';

export default class TunnelsShow extends HomewardCommand {
  static override summary = 'Show one tunnel.';
  static override examples = ['<%= config.bin %> tunnels show paris-gre'];
  static override args = { tunnel: Args.string({ required: true, description: 'Its name.' }) };
  static override flags = CONNECTION_FLAGS;

  async run(): Promise<TunnelDetailsBody> {
    const { args, flags } = await this.parse(TunnelsShow);
    const tunnel = await showTunnel(await this.connect(flags), args.tunnel);
    this.log(describe(tunnel));
    return tunnel;
  }
}

function describe(tunnel: TunnelDetailsBody): string {
  const { outer, nextHops, interfaceAddresses } = tunnel;
  return table([
    ['tunnel', tunnel.name],
    ['site', tunnel.site],
    ['type', tunnel.type],
    ['state', stateOf(tunnel)],
    ...(tunnel.driver === null ? [] : [['driver', `${tunnel.driver.name} (${tunnel.driver.why})`]]),
    ['device', tunnel.device || '-'],
    ['mtu', String(tunnel.mtu)],
    ['priority', String(tunnel.priority)],
    ['replies', tunnel.automaticReturnRouting ? 'by the tunnel their flow came in by' : 'by route'],
    ...(outer === null ? [] : [['ends', `${outer.local} to ${outer.remote}${keyOf(outer.key)}`]]),
    ...(nextHops.length === 0 ? [] : [['next hop', nextHops.join(', ')]]),
    ...(tunnel.health === null ? [] : [['health', healthText(tunnel)]]),
    ...(interfaceAddresses.length === 0 ? [] : [['addresses', interfaceAddresses.join(', ')]]),
    ...(tunnel.ipsec === null ? [] : ipsecRows(tunnel.ipsec)),
    ...counterRows(tunnel),
  ]);
}

function healthText({ state: ofTunnel, health }: TunnelDetailsBody): string {
  const { state, target, rttMs, lossRatio } = health!;
  // What was last known would be taken for what is.
  if (ofTunnel === 'down' && state !== 'down') return `${target} is not asked while the tunnel is down`;
  if (state === 'unknown') return `unknown: ${target} has never answered`;
  const rtt = rttMs === null ? '' : `, ${rttMs.toFixed(1)} ms`;
  return `${state}: ${target}${rtt}, ${(lossRatio * 100).toFixed(1)} % lost`;
}

function stateOf({ state, since, reason }: TunnelDetailsBody): string {
  return `${paintState(state)} since ${since}${reason === null ? '' : `: ${reason}`}`;
}

function keyOf(key: number | null): string {
  return key === null ? '' : `, key ${key}`;
}
