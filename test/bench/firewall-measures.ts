/**
 * What the firewall costs, without devices: a new flow with 10, 1,000 and 10,000 rules, an established packet, and what it
 * takes to compile the rules.
 *
 * All gateways stand beside each other, and a burst of each is timed in turn, so that what else the machine does hits
 * them alike. A figure is the tenth percentile of its bursts: what others take of the processor lengthens whole bursts, and
 * says nothing about the firewall.
 *
 *     node test/bench/firewall-measures.ts [--quick]
 */
import { Firewall, FLOW_STATE_BYTES } from '../../plugins/firewall/firewall.ts';
import { prepareOptions } from '../../plugins/firewall/prepare.ts';
import { raiseInliningBudgets } from '../../src/dataplane/inlining.ts';
import { topologyOf } from '../../src/dataplane/plugin-topology.ts';
import { PluginStanding } from '../../src/pipeline/plugin-standing.ts';
import { NO_HOST } from '../support/plugins.ts';
import { benchRules, RULE_COUNTS, RULE_KINDS, type RuleKind } from './firewall-rules.ts';
import type { PipelineFigure } from './pipeline-measures.ts';
import { BURST_FRAMES, PipelineRig, rigPlan } from './pipeline-rig.ts';

const WARM_UP_BURSTS = 100;
const ESTABLISHED_FLOWS = 1000;

/** A gateway with these rules, and how long they took to compile and to take over. */
class Variant {
  readonly rig: PipelineRig;
  readonly compileMs: number;
  readonly takeMs: number;
  readonly bytes: number;
  readonly timesNs: number[] = [];

  constructor(kind: RuleKind | undefined, count: number, flows: number, isSpread: boolean) {
    if (kind === undefined) {
      this.compileMs = 0;
      this.takeMs = 0;
      this.bytes = 0;
      this.rig = new PipelineRig(flows, 'tcp', { isSpread });
      return;
    }
    const firewall = new Firewall(NO_HOST, {
      wallClockMs: Date.now,
      random: (words) => new Int32Array(words).fill(1),
    });
    const rules = benchRules(kind, count).map(({ match }) => ({ match, action: 'accept' }));
    const topology = topologyOf(rigPlan(flows, 1));
    let prepared = new Uint8Array(0);
    this.compileMs = cpuMs(() => {
      prepared = new Uint8Array(prepareOptions({ options: { default: 'accept', rules }, topology }));
    });
    this.takeMs = cpuMs(() => firewall.configure({ options: undefined, topology, prepared })());
    this.bytes = firewall.policy!.classifier.bytes;
    const standing = new PluginStanding(FLOW_STATE_BYTES);
    this.rig = new PipelineRig(flows, 'tcp', {
      policyPlugins: [{ name: 'firewall', phase: 'policy', half: firewall, standing }],
      isSpread,
    });
  }

  /** Times a burst of new flows. */
  newFlows(first: number): void {
    const { rig } = this;
    for (let place = 0; place < BURST_FRAMES; place++) rig.writeFirst(place, first + place);
    const begin = performance.now();
    rig.assembly.beginBurst();
    for (let place = 0; place < BURST_FRAMES; place++) rig.receive(place, rig.deviceOf(first + place, 0));
    this.timesNs.push(((performance.now() - begin) * 1e6) / BURST_FRAMES);
    const sent = rig.takeSent();
    if (sent !== BURST_FRAMES) throw new Error(`${BURST_FRAMES - sent} flows of a burst were refused`);
  }

  /** Times a burst of packets of established flows. */
  established(first: number): void {
    const { rig } = this;
    const flowAt = (place: number): number => (first + place * 7) % rig.flows;
    for (let place = 0; place < BURST_FRAMES; place++) rig.writeEstablished(place, flowAt(place), place & 1);
    const begin = performance.now();
    rig.assembly.beginBurst();
    for (let place = 0; place < BURST_FRAMES; place++) {
      rig.receive(place, rig.deviceOf(flowAt(place), place & 1));
    }
    this.timesNs.push(((performance.now() - begin) * 1e6) / BURST_FRAMES);
    rig.takeSent();
  }

  get ns(): number {
    const sorted = this.timesNs.slice(WARM_UP_BURSTS).toSorted((a, b) => a - b);
    return sorted[Math.floor(sorted.length / 10)]!;
  }
}

/** Time of this process: what others do meanwhile does not count. */
function cpuMs(work: () => void): number {
  const begin = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(begin);
  return (user + system) / 1000;
}

/** All figures of the firewall. `quick` measures fewer bursts. */
export function measureFirewall(quick: boolean): PipelineFigure[] {
  raiseInliningBudgets();
  const figures: PipelineFigure[] = [];
  const add = (name: string, value: number, unit: PipelineFigure['unit'], most?: number): void => {
    figures.push({ name, value, unit, bar: most === undefined ? {} : { most } });
  };
  for (const kind of RULE_KINDS) newFlows(kind, quick ? 300 : 600, add);
  establishedPackets(quick ? 1000 : 4000, add);
  return figures;
}

type Add = (name: string, value: number, unit: PipelineFigure['unit'], most?: number) => void;

function newFlows(kind: RuleKind, bursts: number, add: Add): void {
  const flows = bursts * BURST_FRAMES;
  const without = new Variant(undefined, 0, flows, true);
  const variants = RULE_COUNTS.map((count) => new Variant(kind, count, flows, true));
  for (let burst = 0; burst < bursts; burst++) {
    for (const variant of [without, ...variants]) variant.newFlows(burst * BURST_FRAMES);
  }
  add(`new flow, no firewall (${kind})`, without.ns, 'ns');
  variants.forEach((variant, at) => {
    add(`new flow, ${RULE_COUNTS[at]} rules (${kind})`, variant.ns, 'ns');
  });
  const [ten, , most] = variants as [Variant, Variant, Variant];
  add(`new flow, 10,000 rules over 10 (${kind})`, most.ns / ten.ns, 'times', 3);
  add(`compiling 10,000 rules (${kind})`, most.compileMs, 'ms', 1000);
  add(`taking over 10,000 rules (${kind})`, most.takeMs, 'ms', 50);
  add(`memory of 10,000 rules (${kind})`, most.bytes / 1e6, 'MB', 64);
}

function establishedPackets(bursts: number, add: Add): void {
  const variants = [undefined, 'mix' as const].map((kind) => {
    const variant = new Variant(kind, 10_000, ESTABLISHED_FLOWS, false);
    variant.rig.establish();
    return variant;
  });
  for (let burst = 0; burst < bursts; burst++) {
    for (const variant of variants) variant.established(burst * 31);
  }
  const [without, withRules] = variants as [Variant, Variant];
  add('established packet, 10,000 rules', withRules.ns, 'ns');
  add('established packet, 10,000 rules over no firewall', withRules.ns / without.ns, 'times', 1.05);
}

if (import.meta.main) {
  for (const { name, value, unit } of measureFirewall(process.argv.includes('--quick'))) {
    process.stdout.write(
      `${name.padEnd(52)} ${value.toFixed(unit === 'times' ? 2 : 1).padStart(10)} ${unit}\n`,
    );
  }
}
