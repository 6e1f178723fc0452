/**
 * Counts what the established path allocates, in a process of its own: started by `allocation.ts` with a young
 * generation so large that nothing is collected meanwhile. Prints bytes per packet.
 *
 *     node --expose-gc --min-semi-space-size=64 --max-semi-space-size=64 allocation-child.ts tcp|udp
 */
import { getHeapStatistics } from 'node:v8';
import { raiseInliningBudgets } from '../../src/dataplane/inlining.ts';
import { BURST_FRAMES, PipelineRig } from './pipeline-rig.ts';

const FLOWS = 1000;
/** Until every function is compiled by the last compiler. */
const WARM_UP_BURSTS = 4000;
const MEASURED_BURSTS = 4000;

declare const gc: () => void;

raiseInliningBudgets();
const rig = new PipelineRig(FLOWS, process.argv[2] === 'udp' ? 'udp' : 'tcp');
rig.establish();
let next = 0;
run(WARM_UP_BURSTS);
gc();
const before = getHeapStatistics().used_heap_size;
const sent = run(MEASURED_BURSTS);
const after = getHeapStatistics().used_heap_size;
if (sent !== MEASURED_BURSTS * BURST_FRAMES) throw new Error(`only ${sent} packets were passed on`);
process.stdout.write(`${(after - before) / sent}\n`);

/** Runs bursts of packets of all flows, in both directions. Returns how many were passed on. */
function run(bursts: number): number {
  let passed = 0;
  for (let burst = 0; burst < bursts; burst++) {
    rig.assembly.beginBurst();
    for (let place = 0; place < BURST_FRAMES; place++) {
      const direction = place & 1;
      rig.writeEstablished(place, next, direction);
      rig.receive(place, rig.deviceOf(next, direction));
      next = next + 1 === FLOWS ? 0 : next + 1;
    }
    passed += rig.takeSent();
  }
  return passed;
}
