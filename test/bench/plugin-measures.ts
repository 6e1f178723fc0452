/**
 * What plugins cost flows that they have nothing to do with any more: established packets of a gateway whose plugins have
 * said `done` of every flow, beside those of one without these plugins. Measured in turn, so that both see the same machine.
 *
 *     node test/bench/plugin-measures.ts
 *
 * Neighbours: `pipeline-measures.ts` (how it is measured, and the rest of the pipeline).
 */
import { raiseInliningBudgets } from '../../src/dataplane/inlining.ts';
import type { LoadedPlugin } from '../../src/pipeline/plugin-link.ts';
import { PluginStanding } from '../../src/pipeline/plugin-standing.ts';
import { PACKET_DONE, VERDICT_CONTINUE } from '../../src/plugin/contract.ts';
import { establishedNs, type PipelineFigure } from './pipeline-measures.ts';
import { PipelineRig } from './pipeline-rig.ts';
import { median } from './statistics.ts';

const FLOWS = 1000;
const ROUNDS = 5;

/** Looks at the first packet behind the one that begins a flow, and has seen enough. */
function inspector(name: string): LoadedPlugin {
  return {
    name,
    phase: 'policy',
    standing: new PluginStanding(16),
    half: {
      flowSetup: (_packet, flow) => {
        flow.wantsPackets = true;
        return VERDICT_CONTINUE;
      },
      packet: () => PACKET_DONE,
    },
  };
}

/** The cost of a flow whose plugins are done, as a multiple of one that never had any. */
export function measurePlugins(quick: boolean): PipelineFigure[] {
  raiseInliningBudgets();
  const bursts = quick ? 1000 : 4000;
  const plain = new PipelineRig(FLOWS, 'udp');
  const done = new PipelineRig(FLOWS, 'udp', { policyPlugins: ['one', 'two', 'three'].map(inspector) });
  const ratios: number[] = [];
  for (const rig of [plain, done]) rig.establish();
  for (let round = 0; round < ROUNDS; round++) {
    // Whoever is second has no advantage.
    const [first, second] = round % 2 === 0 ? [plain, done] : [done, plain];
    const firstNs = establishedNs(first, bursts);
    const secondNs = establishedNs(second, bursts);
    ratios.push(round % 2 === 0 ? secondNs / firstNs : firstNs / secondNs);
  }
  return [
    { name: 'flow whose 3 plugins are done', value: median(ratios), unit: 'times', bar: { most: 1.05 } },
  ];
}

if (import.meta.main) {
  for (const { name, value, unit } of measurePlugins(process.argv.includes('--quick')))
    process.stdout.write(`${name.padEnd(32)} ${value.toFixed(3)} ${unit}\n`);
}
