/**
 * The pipeline alone, without devices: nanoseconds of an established packet, of a table hit, and of a new flow.
 *
 * Each burst is timed by itself. The figure is the median over the bursts of the quietest of several series: where two
 * processors share a core, or a machine is shared, whole seconds are half as fast again (seen: 155 and 265 ns in turn,
 * of one compilation and one table), and that says nothing about the pipeline.
 *
 *     node test/bench/pipeline-measures.ts
 */
import { raiseInliningBudgets } from '../../src/dataplane/inlining.ts';
import {
  DIRECTION_WORDS,
  KEY_DST3,
  KEY_META,
  KEY_PORTS,
  KEY_SRC3,
  RECORD_WORDS,
} from '../../src/flow/layout.ts';
import { PacketView } from '../../src/wire/packet.ts';
import { BURST_FRAMES, PipelineRig, type RigProtocol } from './pipeline-rig.ts';
import { median } from './statistics.ts';

const LARGE_FLOWS = 1_000_000;
const SMALL_FLOWS = 1000;
const NEW_FLOWS = 256 * 800;
const WARM_UP_BURSTS = 2000;
/** Series of bursts, of which the quietest counts. */
const SERIES = 8;
/** Words of a key laid out: source, destination, ports, meta. */
const KEY_WORDS = 4;

export interface PipelineFigure {
  readonly name: string;
  readonly value: number;
  readonly unit: 'ns' | 'flows/s' | 'bytes' | 'ms' | 'MB' | 'times';
  /** What the value must not exceed, or must reach. */
  readonly bar: { readonly most?: number; readonly least?: number };
}

/** All figures of the pipeline. `quick` measures fewer bursts. */
export function measurePipeline(quick: boolean): PipelineFigure[] {
  raiseInliningBudgets();
  const bursts = quick ? 2000 : 8000;
  const figures: PipelineFigure[] = [];
  const add = (name: string, value: number, unit: PipelineFigure['unit'], bar: PipelineFigure['bar']) =>
    figures.push({ name, value, unit, bar });

  for (const protocol of ['tcp', 'udp'] as const) {
    const rig = new PipelineRig(SMALL_FLOWS, protocol);
    rig.establish();
    add(`established ${protocol}, 1k flows`, establishedNs(rig, bursts), 'ns', { most: 150 });
    if (protocol === 'tcp') add('table hit, 1k flows', tableHitNs(rig, bursts), 'ns', { most: 60 });
  }
  const large = new PipelineRig(LARGE_FLOWS, 'tcp');
  large.establish();
  add('established tcp, 1M flows', establishedNs(large, bursts), 'ns', {});
  add('table hit, 1M flows', tableHitNs(large, bursts), 'ns', { most: 300 });
  for (const protocol of ['tcp', 'udp'] as const) {
    add(`new flows ${protocol}`, newFlowsPerSecond(protocol, quick ? 2 : 4), 'flows/s', { least: 200_000 });
  }
  return figures;
}

/** The median of the quietest series. */
function quietest(times: readonly number[]): number {
  const length = Math.ceil(times.length / SERIES);
  const medians: number[] = [];
  for (let first = 0; first < times.length; first += length)
    medians.push(median(times.slice(first, first + length)));
  return Math.min(...medians);
}

/** Time of a packet of an established flow, both directions in turn, flows in an order without locality. */
export function establishedNs(rig: PipelineRig, bursts: number): number {
  const times: number[] = [];
  let random = 1;
  const devices = new Int32Array(BURST_FRAMES);
  for (let burst = 0; burst < WARM_UP_BURSTS + bursts; burst++) {
    for (let place = 0; place < BURST_FRAMES; place++) {
      random = nextRandom(random);
      const flow = flowOf(random, rig.flows);
      const direction = place & 1;
      rig.writeEstablished(place, flow, direction);
      devices[place] = rig.deviceOf(flow, direction);
    }
    const begin = performance.now();
    rig.assembly.beginBurst();
    for (let place = 0; place < BURST_FRAMES; place++) rig.receive(place, devices[place]);
    const end = performance.now();
    const sent = rig.takeSent();
    if (sent !== BURST_FRAMES) throw new Error(`${BURST_FRAMES - sent} packets of a burst were not sent`);
    if (burst >= WARM_UP_BURSTS) times.push(((end - begin) * 1e6) / BURST_FRAMES);
  }
  return quietest(times);
}

/** Time of a lookup that finds its flow. The keys were read out before, so that they warm no record. */
export function tableHitNs(rig: PipelineRig, bursts: number): number {
  const { table } = rig.assembly.state;
  const view = new PacketView(rig.assembly.scratch.memory, true);
  const keys = new Int32Array((WARM_UP_BURSTS + bursts) * BURST_FRAMES * KEY_WORDS);
  let flow = 1;
  for (let at = 0; at < keys.length; at += KEY_WORDS) {
    flow = nextRandom(flow);
    const line = flowOf(flow, rig.flows) * RECORD_WORDS + (at & KEY_WORDS ? DIRECTION_WORDS : 0);
    keys[at] = table.words[line + KEY_SRC3];
    keys[at + 1] = table.words[line + KEY_DST3];
    keys[at + 2] = table.words[line + KEY_PORTS];
    keys[at + 3] = table.words[line + KEY_META];
  }
  const times: number[] = [];
  let missed = 0;
  for (let burst = 0; burst < WARM_UP_BURSTS + bursts; burst++) {
    const first = burst * BURST_FRAMES * KEY_WORDS;
    const begin = performance.now();
    for (let at = first; at < first + BURST_FRAMES * KEY_WORDS; at += KEY_WORDS) {
      const meta = keys[at + 3];
      view.src3 = keys[at];
      view.dst3 = keys[at + 1];
      view.ports = keys[at + 2];
      view.protocol = (meta >>> 8) & 0xff;
      view.family = meta & 0xff;
      if (table.find(view, meta >>> 16) < 0) missed++;
    }
    const end = performance.now();
    if (burst >= WARM_UP_BURSTS) times.push(((end - begin) * 1e6) / BURST_FRAMES);
  }
  if (missed !== 0) throw new Error(`${missed} lookups did not find their flow`);
  return quietest(times);
}

/** Flows set up per second: a table that fills from empty, each flow with an external port of its own. */
export function newFlowsPerSecond(protocol: RigProtocol, rounds: number): number {
  const rates: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const rig = new PipelineRig(NEW_FLOWS, protocol);
    let spentMs = 0;
    for (let first = 0; first < NEW_FLOWS; first += BURST_FRAMES) {
      for (let place = 0; place < BURST_FRAMES; place++) rig.writeFirst(place, first + place);
      const begin = performance.now();
      rig.assembly.beginBurst();
      for (let place = 0; place < BURST_FRAMES; place++) rig.receive(place, rig.deviceOf(first + place, 0));
      spentMs += performance.now() - begin;
      const sent = rig.takeSent();
      if (sent !== BURST_FRAMES) throw new Error(`${BURST_FRAMES - sent} flows of a burst were refused`);
    }
    rates.push((NEW_FLOWS * 1000) / spentMs);
  }
  return median(rates);
}

/** Xorshift: flows in an order without locality. */
function nextRandom(state: number): number {
  let next = state ^ (state << 13);
  next ^= next >>> 17;
  return next ^ (next << 5);
}

function flowOf(random: number, flows: number): number {
  return (random >>> 1) % flows;
}

if (import.meta.main) {
  for (const { name, value, unit } of measurePipeline(process.argv.includes('--quick'))) {
    process.stdout.write(`${name.padEnd(28)} ${value.toFixed(unit === 'ns' ? 1 : 0).padStart(10)} ${unit}\n`);
  }
}
