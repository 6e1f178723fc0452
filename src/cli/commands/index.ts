/** Every command by its id: oclif's explicit discovery, the same for the sources and the build. */
import ConfigCheck from './config/check.ts';
import Down from './down.ts';
import Run from './run.ts';
import Status from './status.ts';

export default {
  'config:check': ConfigCheck,
  down: Down,
  run: Run,
  status: Status,
};
