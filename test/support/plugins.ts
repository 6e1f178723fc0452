/** Plugins as plans name them, and what their data halves are given where no data plane hosts them. */
import { dirname, join } from 'node:path';
import type { PlanPlugin } from '../../src/pipeline/plan.ts';
import type { FailurePolicy, PluginEnvironment } from '../../src/plugin/contract.ts';

const ROOT = join(import.meta.dirname, '../..');

export const ALL_CLOSED: FailurePolicy = {
  exception: 'drop-flow',
  timeout: 'drop-flow',
  memory: 'drop-flow',
  midstream: 'drop-flow',
  unparsable: 'drop-flow',
};

/** A plugin of a plan, by the path of its manifest; named as its folder. */
export function planPlugin(
  manifest: string,
  options: unknown = {},
  rest: Partial<PlanPlugin> = {},
): PlanPlugin {
  return {
    name: dirname(manifest).split('/').at(-1)!,
    manifest: join(ROOT, manifest),
    version: '0.1.0',
    options,
    failurePolicy: ALL_CLOSED,
    ports: 'all',
    revision: 0,
    ...rest,
  };
}

/** For data halves that need nothing of what surrounds them. */
export const NO_HOST: PluginEnvironment = {
  name: 'hosted by nobody',
  log: () => {},
  counter: () => () => {},
  reason: () => {},
  nowMs: () => 0,
  send: () => false,
};
