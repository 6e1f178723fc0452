/**
 * The part of the configuration file that says which plugins run. `schema.ts` puts it into the whole; docs/plugins.md
 * describes it. Whether there is such a plugin, and what its options are: `checks/plugins.ts`.
 */
import * as z from 'zod';
import { failurePolicy, pluginName } from '../plugins/manifest-schema.ts';
import { boolean, listOf, map, mismatch, oneOrMore, type Reading, text } from './leaves.ts';

const from = text(
  {
    what: 'a place of a plugin',
    write: 'the absolute path of its folder, or the name of its npm package',
  },
  (value): Reading<string> | undefined => {
    if (value.startsWith('/'))
      return value.includes('\0') ? undefined : { value: value.replace(/(?<=.)\/+$/, '') };
    if (/^\.{1,2}(?:\/|$)/.test(value)) {
      return { problem: `${value} is relative, and nobody could say to what; write an absolute path` };
    }
    return /^(?:@[a-z0-9~-][a-z0-9._~-]*\/)?[a-z0-9~-][a-z0-9._~-]*$/.test(value) ? { value } : undefined;
  },
);

/** Names of what else stands in the file: whether it does, the checks see. */
const portName = text({ what: 'a name', write: 'one that stands in this file' }, (value) =>
  value === '' ? undefined : { value },
);

const plugin = map('a plugin', {
  name: pluginName,
  from: from.optional(),
  enabled: boolean().default(true),
  sites: oneOrMore(portName, 'a name of a site').optional(),
  tunnels: oneOrMore(portName, 'a name of a tunnel or an egress').optional(),
  on_failure: failurePolicy.default({}),
  options: z
    .record(z.string(), z.unknown(), { error: ({ input }) => mismatch(input, { what: 'a map of options' }) })
    .default({}),
});

export const plugins = listOf(plugin, 'a list of plugins').default([]);
