/** A topology, names and packets for the tests of the firewall. */
import type { FlowSetup, PluginTopology } from '../../src/plugin/contract.ts';
import { buildPacket, type PacketSpec, placePacket } from '../../src/wire/build.ts';
import { decode } from '../../src/wire/decode.ts';
import { FrameMemory } from '../../src/wire/frame.ts';
import { PacketView } from '../../src/wire/packet.ts';
import { Names } from './names.ts';
import { Mapping, Problems } from './options-check.ts';
import { PacketValues } from './packet-values.ts';
import { readSets } from './sets.ts';

export const TOPOLOGY: PluginTopology = {
  ports: [
    { index: 1, generation: 1, name: 'paris-gre', kind: 'tunnel', site: 'paris', space: 1 },
    { index: 2, generation: 1, name: 'paris-ipsec', kind: 'tunnel', site: 'paris', space: 1 },
    { index: 3, generation: 1, name: 'lyon', kind: 'tunnel', site: 'lyon', space: 2 },
    { index: 4, generation: 1, name: 'dc', kind: 'tunnel', site: 'dc', space: 3 },
    { index: 5, generation: 1, name: 'internet', kind: 'egress', site: undefined, space: 4 },
  ],
  spaces: [
    { id: 1, site: 'paris', prefixes: ['10.0.1.0/24', 'fd00::/32'] },
    { id: 2, site: 'lyon', prefixes: ['10.0.1.0/24', '10.0.2.0/24', 'fd00::/32'] },
    { id: 3, site: 'dc', prefixes: ['10.50.0.0/16', 'fd00:50::/32'] },
    { id: 4, site: undefined, prefixes: [] },
  ],
  maxFlows: 4096,
};

export const SETS = {
  servers: { prefixes: ['10.0.1.0..10.0.1.9', '192.0.2.0/28', 'fd00::/112'] },
  web: { ports: [80, 443, '8000..8080'] },
};

export const NAMES = namesOf(SETS);

export function namesOf(sets: unknown): Names {
  const problems = new Problems();
  const read = readSets(new Mapping({ sets }, '', ['sets'], problems), problems);
  problems.throwIfAny();
  return new Names(TOPOLOGY, read);
}

function flow(ingressPort: number, egressPort: number): FlowSetup {
  const spaceOf = (port: number): number => TOPOLOGY.ports.find(({ index }) => index === port)!.space;
  const setup: Partial<FlowSetup> = {
    ingressPort,
    egressPort,
    originatorSpace: spaceOf(ingressPort),
    responderSpace: spaceOf(egressPort),
    hypothetical: false,
    reevaluated: false,
    nowMs: 0,
    state: new Int32Array(4),
    stateAt: 0,
  };
  return setup as FlowSetup;
}

/** Flows from paris to the internet, from the internet to paris, from lyon to the data centre. */
export const FLOWS = { outbound: flow(1, 5), inbound: flow(5, 1), internal: flow(3, 4) };

/** Wednesday, 23:30. */
export const MINUTE = (2 * 24 + 23) * 60 + 30;

/** A packet's view; each in memory of its own. */
export function viewOf(spec: PacketSpec): PacketView {
  const packet = buildPacket(spec);
  const memory = new FrameMemory(new ArrayBuffer((packet.length + 64 + 3) & ~3));
  const view = new PacketView(memory);
  const code = decode(view, placePacket(memory, 0, packet), packet.length);
  if (code !== 0 && code !== 4) throw new Error(`the packet does not decode: ${code}`);
  return view;
}

/** What rules see of a packet. */
export function valuesOf(spec: PacketSpec, of: FlowSetup, minuteOfWeek = MINUTE): PacketValues {
  const values = new PacketValues();
  values.read(viewOf(spec), of, minuteOfWeek);
  return values;
}
