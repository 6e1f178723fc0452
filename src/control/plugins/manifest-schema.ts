/**
 * The shape of a plugin's `manifest.json`: every key, its kind of value. What holds between values is in `manifest.ts`;
 * docs/plugins.md describes the same for authors of plugins.
 */
import * as z from 'zod';
import {
  CONTRACT_VERSION,
  FAILURE_ACTIONS,
  MAX_FLOW_STATE_BYTES,
  type PluginHook,
} from '../../plugin/contract.ts';
import {
  boolean,
  found,
  integer,
  listOf,
  map,
  mismatch,
  oneOf,
  type Reading,
  text,
} from '../config/leaves.ts';

const MAX_NAME = 31;

/** Names of plugins, views and commands: they stand in paths of the API and on command lines. */
function word(what: string) {
  const write = `lower-case letters, digits and - (a letter first), at most ${MAX_NAME} characters`;
  return text({ what, write }, (value) =>
    found(/^[a-z][a-z0-9-]*$/.test(value) && value.length <= MAX_NAME ? value : undefined),
  );
}

export const pluginName = word('a name of a plugin');

const sentence = text({ what: 'a text', write: 'a line of text' }, (value) =>
  found(value.trim() === '' ? undefined : value),
);

const version = text({ what: 'a version', write: 'one such as 1.4.0 (https://semver.org)' }, (value) =>
  found(/^\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?$/.test(value) ? value : undefined),
);

const module = text(
  { what: 'a module of the plugin', write: 'its path relative to the manifest, such as ./data.ts' },
  (value): Reading<string> | undefined => {
    if (value.startsWith('/')) return { problem: `${value} is absolute; write it relative to the manifest` };
    return found(/\.(?:ts|js|mts|mjs)$/.test(value) && !value.includes('\0') ? value : undefined);
  },
);

const jsonSchema = z.record(z.string(), z.unknown(), {
  error: ({ input }) => mismatch(input, { what: 'a JSON Schema', write: 'an object' }),
});

const HOOKS = [
  'flowSetup',
  'flowStart',
  'packet',
  'stream',
  'ingressChanged',
  'flowEnd',
] as const satisfies readonly PluginHook[];

const action = oneOf(FAILURE_ACTIONS).optional();

/** An action for each cause; also `on_failure` of the configuration. */
export const failurePolicy = map('actions by cause of failure', {
  exception: action,
  timeout: action,
  memory: action,
  midstream: action,
  unparsable: action,
});

const view = map('a view', {
  summary: sentence,
  parameters: jsonSchema.optional(),
  half: oneOf(['data', 'control']),
});

const flag = map('a flag of a command', {
  summary: sentence,
  type: oneOf(['string', 'integer', 'boolean']).default('string'),
  required: boolean().default(false),
  multiple: boolean().default(false),
});

const command = map('a command', {
  summary: sentence,
  description: sentence.optional(),
  view: word('a name of a view'),
  flags: z.record(word('a name of a flag'), flag).default({}),
  examples: listOf(sentence, 'a list of examples').default([]),
});

const diversion = map('a diversion', {
  name: word('a name of a diversion'),
  tcp: integer(1, 65535).optional(),
  udp: integer(1, 65535).optional(),
});

const names = listOf(pluginName, 'a list of names of plugins').optional();

export const manifestSchema = map('settings of a plugin', {
  $schema: z.string().optional(),
  name: pluginName,
  version,
  homeward: z.literal(CONTRACT_VERSION, {
    error: ({ input }) =>
      mismatch(input, {
        what: 'a version of the plugin contract that this homeward speaks',
        write: String(CONTRACT_VERSION),
      }),
  }),
  description: sentence.optional(),
  data: module,
  control: module.optional(),
  check: module.optional(),
  prepare: module.optional(),
  phase: oneOf(['policy', 'routing']),
  hooks: listOf(oneOf(HOOKS), 'a list of hooks').min(1, 'is empty; write at least one hook'),
  runs_before: names,
  runs_after: names,
  failure_policy: failurePolicy.default({}),
  flow_state_bytes: integer(0, MAX_FLOW_STATE_BYTES)
    .default(0)
    .superRefine((value, context) => {
      if (value % 4 === 0) return;
      const write = Math.min(MAX_FLOW_STATE_BYTES, Math.ceil(value / 4) * 4);
      context.addIssue({ code: 'custom', message: `${value} is not a multiple of 4; write ${write}` });
    }),
  diversions: listOf(diversion, 'a list of diversions').default([]),
  options: jsonSchema.optional(),
  views: z.record(word('a name of a view'), view).default({}),
  commands: z.record(word('a name of a command'), command).default({}),
});

/** A manifest that was found right. */
export type Manifest = z.output<typeof manifestSchema>;
