/**
 * Which way flows took, as the captures of the gateway's own devices show it: the tunnel that a flow's packets
 * came in by, and the tunnel that the replies left by. Nothing is asked of the gateway.
 */
import { PROTOCOL_TCP } from '../../../src/wire/packet.ts';
import type { SeenFrame, SeenIp } from './captured-packets.ts';
import type { Experiment } from './experiment.ts';
import type { Network } from './network.ts';
import type { Tokens } from './tokens.ts';

export interface Path {
  /** Names of tunnels, in order of appearance. */
  readonly arrivals: readonly string[];
  readonly replies: readonly string[];
}

/** The paths of all flows from sites, by token. */
export async function observedPaths(experiment: Experiment): Promise<ReadonlyMap<string, Path>> {
  const { network, tokens } = experiment;
  const paths = new Map<string, { arrivals: Set<string>; replies: Set<string> }>();
  const note = (frames: readonly SeenFrame[], owner: string, way: 'arrivals' | 'replies'): void => {
    for (const frame of frames) {
      if (frame.what !== 'ip') continue;
      const tunnel = tunnelOf(frame, owner, network);
      const token = tokenOf(frame, tokens);
      if (tunnel === undefined || token === undefined) continue;
      const path = paths.get(token) ?? { arrivals: new Set(), replies: new Set() };
      path[way].add(tunnel);
      paths.set(token, path);
    }
  };
  for (const { device, owner } of network.gatewayDevices()) {
    note(await experiment.frames(`gw-${device}`, 'in'), owner, 'arrivals');
    note(await experiment.frames(`gw-${device}`, 'out'), owner, 'replies');
  }
  return new Map(
    [...paths].map(([token, { arrivals, replies }]) => [
      token,
      { arrivals: [...arrivals], replies: [...replies] },
    ]),
  );
}

/** Only tunnels of sites count: what passes to the data centre or the internet is the flow's far side. */
function tunnelOf(packet: SeenIp, owner: string, network: Network): string | undefined {
  const { sites } = network.spec;
  if (packet.tunnel !== undefined) {
    const { key } = packet.tunnel;
    const site = sites.find(({ name }) => network.greKeyOf(name) === key);
    return site === undefined ? `unknown GRE key ${key}` : network.tunnelName(site.name);
  }
  return sites.some(({ name }) => name === owner) ? network.tunnelName(owner) : undefined;
}

function tokenOf({ protocol, fragment, payload }: SeenIp, tokens: Tokens): string | undefined {
  if (payload === '') return undefined;
  return protocol === PROTOCOL_TCP || fragment === 2 ? tokens.ofStream(payload) : tokens.ofMessage(payload);
}
