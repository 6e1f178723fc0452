/** Every command by its id: oclif's explicit discovery, the same for the sources and the build. */
import Capture from './capture.ts';
import ConfigCheck from './config/check.ts';
import Down from './down.ts';
import PluginsList from './plugins/list.ts';
import PluginsShow from './plugins/show.ts';
import Run from './run.ts';
import SitesList from './sites/list.ts';
import SitesShow from './sites/show.ts';
import Status from './status.ts';
import TunnelsList from './tunnels/list.ts';
import TunnelsMismatches from './tunnels/mismatches.ts';
import TunnelsShow from './tunnels/show.ts';
import TunnelsTest from './tunnels/test.ts';

export default {
  capture: Capture,
  'config:check': ConfigCheck,
  down: Down,
  'plugins:list': PluginsList,
  'plugins:show': PluginsShow,
  run: Run,
  'sites:list': SitesList,
  'sites:show': SitesShow,
  status: Status,
  'tunnels:list': TunnelsList,
  'tunnels:mismatches': TunnelsMismatches,
  'tunnels:show': TunnelsShow,
  'tunnels:test': TunnelsTest,
};
