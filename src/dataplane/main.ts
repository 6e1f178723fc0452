/** The data plane process: started and supervised by control. See `data-plane.ts`. */
import { DataPlane } from './data-plane.ts';
import { parseDataPlaneArguments } from './messages.ts';

new DataPlane(parseDataPlaneArguments(process.argv.slice(2))).run();
