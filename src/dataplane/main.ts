/** The data plane process: started and supervised by control. See `data-plane.ts`. */
import { DataPlane } from './data-plane.ts';
import { raiseInliningBudgets } from './inlining.ts';
import { parseDataPlaneArguments } from './messages.ts';

raiseInliningBudgets();
new DataPlane(parseDataPlaneArguments(process.argv.slice(2))).run();
