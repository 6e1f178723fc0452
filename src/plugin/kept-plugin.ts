/**
 * Copies of plugins: what runs is what was applied, whatever becomes of the plugin's folder meanwhile.
 *
 * ```
 *  <directory>/<digest>/origin.json    where the plugin was copied from, as absolute path
 *  <directory>/<digest>/files/         its manifest, modules and whatever else is in its folder, and the packages that it
 *                                      depends on, below node_modules
 * ```
 *
 * A copy is named after all that is in it, so that it is never changed: other content is another copy. Symbolic links are
 * followed; what Git, and a link to homeward, have in the folder is left out.
 *
 * Neighbours: `control/plugins/kept-plugins.ts` (which copies there are), `module-loader.ts` (loads from them),
 * `dataplane/plugin-instance.ts` (looks whether a copy is whole).
 */
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { untrustedFile } from './trusted-files.ts';

/** More than any plugin should bring along. */
const MAX_BYTES = 64 * 1024 * 1024;
const MAX_FILES = 20_000;
const ORIGIN = 'origin.json';
const FILES = 'files';

/** What a plugin's folder has, and what goes with it. */
export interface PluginContent {
  /** Absolute path of the folder. */
  readonly origin: string;
  /** By path below the folder, in order. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  /** Of all this; hexadecimal. */
  readonly digest: string;
}

/**
 * Reads a plugin's folder, whole.
 *
 * @throws Error that says what is wrong, and what would be right
 */
export function readPlugin(folder: string): PluginContent {
  const collected = new Collected(folder);
  collected.folder(folder, '', []);
  collected.type(folder);
  collected.dependencies(folder, '', [folder]);
  const files = new Map([...collected.files].sort(([a], [b]) => (a < b ? -1 : 1)));
  return { origin: folder, files, digest: digestOf(folder, files) };
}

/**
 * Writes a copy, unless it is there.
 *
 * @returns the folder of the copy
 * @throws Error with the code of the failed system call; nothing is left then
 */
export function keepPlugin(directory: string, { origin, files, digest }: PluginContent): string {
  const target = join(directory, digest);
  const folder = join(target, FILES);
  if (existsSync(target) && keptFault(folder) === undefined) return folder;
  const half = `${target}.${process.pid}.tmp`;
  rmSync(half, { recursive: true, force: true });
  try {
    for (const [path, bytes] of files) {
      const file = join(half, FILES, path);
      mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
      writeFileSync(file, bytes, { mode: 0o600 });
    }
    writeFileSync(join(half, ORIGIN), JSON.stringify(origin), { mode: 0o600 });
    rmSync(target, { recursive: true, force: true });
    renameSync(half, target);
  } catch (error) {
    rmSync(half, { recursive: true, force: true });
    throw error;
  }
  return folder;
}

/** The folder of the copy with this digest, there or not. */
export function keptFolder(directory: string, digest: string): string {
  return join(directory, digest, FILES);
}

/** The digest of a copy, by its folder. */
export function keptDigest(folder: string): string {
  return basename(dirname(folder));
}

/** Where a folder was copied from; undefined if it is no copy. */
export function keptOrigin(folder: string): string | undefined {
  if (basename(folder) !== FILES) return undefined;
  try {
    const origin: unknown = JSON.parse(readFileSync(join(dirname(folder), ORIGIN), 'utf8'));
    return typeof origin === 'string' ? origin : undefined;
  } catch {
    return undefined;
  }
}

/** What is wrong with a copy; undefined if it is whole, as it was written. */
export function keptFault(folder: string): string | undefined {
  const origin = keptOrigin(folder);
  if (origin === undefined) return `${folder} is no copy of a plugin`;
  try {
    const collected = new Collected(folder);
    collected.everything(folder, '');
    const files = new Map([...collected.files].sort(([a], [b]) => (a < b ? -1 : 1)));
    return digestOf(origin, files) === keptDigest(folder)
      ? undefined
      : `${folder} is not what it was when it was applied`;
  } catch (error) {
    return `${folder} cannot be read: ${(error as Error).message}`;
  }
}

function digestOf(origin: string, files: ReadonlyMap<string, Uint8Array>): string {
  const hash = createHash('sha256').update(origin);
  for (const [path, bytes] of files) hash.update(`\0${path}\0${bytes.length}\0`).update(bytes);
  return hash.digest('hex');
}

class Collected {
  readonly files = new Map<string, Uint8Array>();
  readonly #plugin: string;
  #bytes = 0;

  constructor(plugin: string) {
    this.#plugin = plugin;
  }

  /** A folder of the plugin or of a package, at this path of the copy. `above`: real paths of the folders it lies in. */
  folder(folder: string, at: string, above: readonly string[]): void {
    const real = realpathSync(folder);
    if (above.includes(real)) return;
    for (const name of readdirSync(folder)) {
      if (
        name === '.git' ||
        name === '.bin' ||
        (name === 'homeward' && basename(folder) === 'node_modules')
      ) {
        continue;
      }
      const path = join(folder, name);
      const stat = statSync(path, { throwIfNoEntry: false });
      if (stat?.isDirectory()) this.folder(path, join(at, name), [...above, real]);
      else if (stat?.isFile()) this.#take(path, join(at, name), stat.size);
    }
  }

  /** All of a copy. */
  everything(folder: string, at: string): void {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) this.everything(path, join(at, entry.name));
      else if (entry.isFile()) this.#take(path, join(at, entry.name), statSync(path).size);
      else throw new Error(`${path} is neither a file nor a folder`);
    }
  }

  /** What a folder above says of modules (`type`) goes with the plugin, if it says nothing itself. */
  type(folder: string): void {
    if (this.files.has('package.json')) return;
    const type = packageAbove(folder)?.type;
    if (typeof type === 'string') this.files.set('package.json', Buffer.from(JSON.stringify({ type })));
  }

  /** Packages that a package depends on, as far as they lie beside it or above. `chain`: who depends on it, by folder. */
  dependencies(folder: string, at: string, chain: readonly string[]): void {
    const text = this.files.get(join(at, 'package.json'));
    for (const name of text === undefined ? [] : dependenciesIn(text)) {
      if (name === 'homeward' || this.files.has(join(at, 'node_modules', name, 'package.json'))) continue;
      const found = packageFor(name, folder);
      if (found === undefined || chain.includes(found)) continue;
      const fault = untrustedFile(found);
      if (fault !== undefined) throw new Error(fault);
      this.folder(found, join(at, 'node_modules', name), []);
      this.dependencies(found, join(at, 'node_modules', name), [...chain, found]);
    }
  }

  #take(file: string, at: string, bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes > MAX_BYTES || this.files.size >= MAX_FILES) {
      throw new Error(
        `${this.#plugin} has more than ${MAX_FILES} files or ${MAX_BYTES / 1024 / 1024} MiB with the packages that it depends on; take out what it does not run with`,
      );
    }
    this.files.set(at, readFileSync(file));
  }
}

function dependenciesIn(text: Uint8Array): string[] {
  try {
    const { dependencies = {}, optionalDependencies = {} } = JSON.parse(
      Buffer.from(text).toString(),
    ) as Record<string, object | undefined>;
    return Object.keys({ ...dependencies, ...optionalDependencies });
  } catch {
    return [];
  }
}

/** Where Node finds a package for modules of this folder. */
function packageFor(name: string, folder: string): string | undefined {
  for (let at = realpathSync(folder); ; at = dirname(at)) {
    const found = join(at, 'node_modules', name);
    if (existsSync(join(found, 'package.json'))) return realpathSync(found);
    if (at === dirname(at)) return undefined;
  }
}

/** The nearest `package.json` above a folder. */
function packageAbove(folder: string): { readonly type?: unknown } | undefined {
  for (let at = realpathSync(folder); at !== dirname(at); ) {
    at = dirname(at);
    try {
      return JSON.parse(readFileSync(join(at, 'package.json'), 'utf8')) as { readonly type?: unknown };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') return undefined;
    }
  }
  return undefined;
}
