/**
 * What processes that control starts find in their environment: what they need, by name. Secrets may stand in control's own
 * (`psk: { env: VARIABLE }`), under any name, and neither plugins in the data plane nor the host's tools are to have them.
 *
 * Neighbours: `runtime/data-plane-process.ts`, `host/command.ts` and `host/watch-host.ts`, which start processes.
 */

const HANDED_ON = [
  'PATH',
  'LANG',
  'LC_ALL',
  'TZ',
  'TMPDIR',
  'LD_LIBRARY_PATH',
  // Node: how much memory the data plane may take, where plugins find packages, and where coverage is written.
  'NODE_OPTIONS',
  'NODE_PATH',
  'NODE_V8_COVERAGE',
  // `tunnel/patience.ts`, and faults of plugins that are wanted (docs/plugins.md).
  'HOMEWARD_PATIENCE',
  'HOMEWARD_PLUGIN_FAULTS',
];

/** The part of an environment that children of control get. */
export function childEnvironment(environment: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  return Object.fromEntries(
    HANDED_ON.flatMap((name) => (environment[name] === undefined ? [] : [[name, environment[name]]])),
  );
}
