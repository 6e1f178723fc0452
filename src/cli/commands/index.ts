/** Every command by its id: oclif's explicit discovery, the same for the sources and the build. */
import Audit from './audit.ts';
import Capture from './capture.ts';
import CompletionNames from './completion/names.ts';
import Completion from './completion.ts';
import ConfigApply from './config/apply.ts';
import ConfigCheck from './config/check.ts';
import ConfigConfirm from './config/confirm.ts';
import ConfigDiff from './config/diff.ts';
import ConfigHistory from './config/history.ts';
import ConfigRollback from './config/rollback.ts';
import ConfigSchema from './config/schema.ts';
import ConfigShow from './config/show.ts';
import Down from './down.ts';
import FlowsExplain from './flows/explain.ts';
import FlowsFlush from './flows/flush.ts';
import FlowsList from './flows/list.ts';
import FlowsShow from './flows/show.ts';
import Guard from './guard.ts';
import PluginsCreate from './plugins/create.ts';
import PluginsDisable from './plugins/disable.ts';
import PluginsEnable from './plugins/enable.ts';
import PluginsList from './plugins/list.ts';
import PluginsReload from './plugins/reload.ts';
import PluginsShow from './plugins/show.ts';
import RoutesList from './routes/list.ts';
import RoutesTest from './routes/test.ts';
import Run from './run.ts';
import SitesList from './sites/list.ts';
import SitesShow from './sites/show.ts';
import Status from './status.ts';
import Top from './top.ts';
import TunnelsAdd from './tunnels/add.ts';
import TunnelsDisable from './tunnels/disable.ts';
import TunnelsEnable from './tunnels/enable.ts';
import TunnelsList from './tunnels/list.ts';
import TunnelsMismatches from './tunnels/mismatches.ts';
import TunnelsRemove from './tunnels/remove.ts';
import TunnelsShow from './tunnels/show.ts';
import TunnelsTest from './tunnels/test.ts';

export default {
  audit: Audit,
  capture: Capture,
  completion: Completion,
  'completion:names': CompletionNames,
  'config:apply': ConfigApply,
  'config:check': ConfigCheck,
  'config:confirm': ConfigConfirm,
  'config:diff': ConfigDiff,
  'config:history': ConfigHistory,
  'config:rollback': ConfigRollback,
  'config:schema': ConfigSchema,
  'config:show': ConfigShow,
  down: Down,
  guard: Guard,
  'flows:explain': FlowsExplain,
  'flows:flush': FlowsFlush,
  'flows:list': FlowsList,
  'flows:show': FlowsShow,
  'plugins:create': PluginsCreate,
  'plugins:disable': PluginsDisable,
  'plugins:enable': PluginsEnable,
  'plugins:list': PluginsList,
  'plugins:reload': PluginsReload,
  'plugins:show': PluginsShow,
  'routes:list': RoutesList,
  'routes:test': RoutesTest,
  run: Run,
  'sites:list': SitesList,
  'sites:show': SitesShow,
  status: Status,
  top: Top,
  'tunnels:add': TunnelsAdd,
  'tunnels:disable': TunnelsDisable,
  'tunnels:enable': TunnelsEnable,
  'tunnels:list': TunnelsList,
  'tunnels:mismatches': TunnelsMismatches,
  'tunnels:remove': TunnelsRemove,
  'tunnels:show': TunnelsShow,
  'tunnels:test': TunnelsTest,
};
