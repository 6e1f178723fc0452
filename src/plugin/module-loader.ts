/**
 * Loads the modules of plugins: at once (the data plane has no event loop to wait in), and anew when asked, without
 * another process.
 *
 * Node keeps a module for its URL for as long as the process lives. So every reading of a plugin's files has a number,
 * which stands behind the URL of each of its modules:
 *
 * ```
 *  require  file:///homeward-plugin/3/opt/limiter/data.ts.mjs   made up: nothing but an "export *" of the next line
 *  import   file:///opt/limiter/data.ts?plugin=3
 *  import   file:///opt/limiter/part.ts?plugin=3                whatever these import from the plugin's own folder
 *  import   file:///.../src/plugin/plugin-api.ts                'homeward/plugin': always the one that runs here
 * ```
 *
 * `require` would drop what stands behind a URL, which is why there is a first line. Modules of former readings stay in
 * memory: a plugin is read anew by hand, some dozens of times in the life of a process.
 *
 * Where the folder is a copy (`kept-plugin.ts`), what leads out of it is looked for from where the plugin was copied from; what
 * lies in its folder there is none of the plugin's any more.
 *
 * A plugin needs no installation of homeward beside it: its `homeward/plugin` is the contract of the homeward that
 * loads it.
 *
 * Neighbours: `module-file.ts` (which file), `dataplane/plugin-instance.ts` and `control/plugins/` (who load).
 */
import {
  createRequire,
  type ResolveFnOutput,
  type ResolveHookContext,
  type ResolveHookSync,
  registerHooks,
} from 'node:module';
import { extname } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { keptOrigin } from './kept-plugin.ts';

/** What plugins import. */
export const PLUGIN_API_SPECIFIER = 'homeward/plugin';
/** The file behind {@link PLUGIN_API_SPECIFIER}. */
export const PLUGIN_API_FILE = fileURLToPath(
  new URL(`./plugin-api${extname(import.meta.filename)}`, import.meta.url),
);

const PLUGIN_API_URL = pathToFileURL(PLUGIN_API_FILE).href;
const ENTRY = 'file:///homeward-plugin/';
const MARK = '?plugin=';

const require = createRequire(import.meta.url);
/** URLs of folders, by the number of the reading - 1. */
const folders: string[] = [];
/** Likewise, of the folders that they were copied from. */
const origins: (string | undefined)[] = [];

/** One reading of a plugin's files. */
export class PluginFiles {
  readonly #number: number;

  /** @param folder absolute path of the plugin's folder */
  constructor(folder: string) {
    if (folders.length === 0) installHooks();
    this.#number = folders.push(`${pathToFileURL(folder).href}/`);
    const origin = keptOrigin(folder);
    origins.push(origin === undefined ? undefined : `${pathToFileURL(origin).href}/`);
  }

  /**
   * What a module exports. Modules of one reading are loaded once.
   *
   * @param file absolute path
   * @throws whatever the module throws; Error if it waits (top-level `await`)
   */
  load(file: string): Readonly<Record<string, unknown>> {
    const path = pathToFileURL(file).pathname;
    return require(`${ENTRY}${this.#number}${path}.mjs`) as Record<string, unknown>;
  }
}

function installHooks(): void {
  registerHooks({
    resolve(specifier, context, nextResolve) {
      if (specifier === PLUGIN_API_SPECIFIER) return { url: PLUGIN_API_URL, shortCircuit: true };
      if (specifier.startsWith(ENTRY)) return { url: specifier, format: 'module', shortCircuit: true };
      const reading = readingOf(context.parentURL);
      const origin = origins[reading - 1];
      const resolved =
        origin === undefined
          ? nextResolve(specifier, context)
          : resolveKept(specifier, context, nextResolve, folders[reading - 1]!, origin);
      if (reading === 0 || !resolved.url.startsWith(folders[reading - 1]!)) return resolved;
      return resolved.url.includes(MARK)
        ? resolved
        : { ...resolved, url: `${resolved.url}${MARK}${reading}` };
    },
    load(url, context, nextLoad) {
      if (!url.startsWith(ENTRY)) return nextLoad(url, context);
      const [number, ...path] = url.slice(ENTRY.length, -'.mjs'.length).split('/');
      const module = `file:///${path.join('/')}${MARK}${number}`;
      return { format: 'module', source: `export * from ${JSON.stringify(module)};`, shortCircuit: true };
    },
  });
}

/** From a module of a copy. */
function resolveKept(
  specifier: string,
  context: ResolveHookContext,
  nextResolve: Parameters<ResolveHookSync>[2],
  folder: string,
  origin: string,
): ResolveFnOutput {
  let failure: unknown;
  try {
    const resolved = nextResolve(specifier, context);
    if (!specifier.startsWith('.') || resolved.url.startsWith(folder)) return resolved;
  } catch (error) {
    failure = error;
  }
  const parentURL = origin + context.parentURL!.slice(folder.length);
  const outside = nextResolve(specifier, { ...context, parentURL });
  if (outside.url.startsWith(origin))
    throw failure ?? new Error(`${specifier} is not among what was applied`);
  return outside;
}

/** The number of the reading that a module belongs to; 0 for none. */
function readingOf(url: string | undefined): number {
  const at = url?.lastIndexOf(MARK) ?? -1;
  return at < 0 ? 0 : Number(url!.slice(at + MARK.length));
}
