/**
 * Which copy of a plugin runs: the one that was applied, until somebody has its folder read anew.
 *
 * ```
 *   a start                 the copy that was applied last; nobody has applied anything since. Without one: the folder
 *   config apply, others    the same, unless the manifest in the folder has another version
 *   plugins reload          the folder
 *   not confirmed           the copy that ran before the change
 * ```
 *
 * What is taken from a folder is copied first, and everything - manifest, options' schema, all modules in both processes - is
 * read from the copy. `applied.json` says which copy is whose; it is written when the gateway runs with it. While a change waits
 * for its confirmation, `before.json` says the same of what ran before it. Copies that neither names are removed when no change
 * is under way, which may have to be undone.
 *
 * Neighbours: `plugin/kept-plugin.ts` (a copy), `../config/checks/plugins.ts` (asks), `../store/starting-config.ts` (opens
 * it), `../gateway.ts` (says what runs).
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import {
  keepPlugin,
  keptDigest,
  keptFault,
  keptFolder,
  keptOrigin,
  readPlugin,
} from '../../plugin/kept-plugin.ts';
import { untrustedFile } from '../../plugin/trusted-files.ts';
import type { Config } from '../config/config.ts';
import { writeFileAtomic } from '../store/state-directory.ts';
import type { Located } from './installed.ts';

const APPLIED = 'applied.json';
const BEFORE = 'before.json';
const MANIFEST = 'manifest.json';

/** Why a configuration is read. */
export type Reading =
  | { readonly why: 'start' | 'change' | 'undo' }
  | { readonly why: 'reload'; readonly plugin: string };

/** Copies of plugins, for whoever reads a configuration. */
export interface KeptReading {
  readonly plugins: KeptPlugins;
  readonly reading: Reading;
}

/** Where a plugin is to be read from. */
export interface Chosen {
  /** Its manifest: in a copy, or, where `isNew`, where it is installed. */
  readonly manifest: string;
  /** Not applied before: to be checked where it is, and copied ({@link KeptPlugins.keep}). */
  readonly isNew: boolean;
  /** What the user should know: a clause behind the plugin's name; empty for nothing. */
  readonly notice: string;
}

export class KeptPlugins {
  readonly #directory: string;
  /** Digests by name of the plugin. */
  #applied: Readonly<Record<string, string>>;
  /** Likewise, what to go back to; undefined: nothing waits. */
  #before: Readonly<Record<string, string>> | undefined;
  #isChanging = false;

  /** @param directory of this object's alone; made when it is needed */
  constructor(directory: string) {
    this.#directory = directory;
    this.#applied = readDigests(join(directory, APPLIED)) ?? {};
    this.#before = readDigests(join(directory, BEFORE));
  }

  /**
   * Chooses.
   *
   * @param located where it is installed
   * @returns or what is wrong, as with {@link Located}
   */
  choose(name: string, located: Located, reading: Reading): Chosen | { readonly problem: string } {
    const known = { ...this.#applied, ...(reading.why === 'undo' ? this.#before : undefined) };
    const digest = Object.hasOwn(known, name) ? known[name]! : undefined;
    const isAsked = reading.why === 'reload' && reading.plugin === name;
    if (digest === undefined || isAsked) return fromFolder(located);
    const folder = keptFolder(this.#directory, digest);
    const origin = keptOrigin(folder);
    const isElsewhere = 'manifest' in located && origin !== undefined && origin !== dirname(located.manifest);
    if (isElsewhere) return fromFolder(located);
    const now = lookAt(located);
    const damage = keptFault(folder);
    if (damage !== undefined) {
      if (now.digest === digest) return fromFolder(located);
      return {
        problem: `its copy is damaged (${damage}), and its folder is not what was applied; put one of them right, or remove ${join(this.#directory, APPLIED)} to take plugins as they are`,
      };
    }
    const kept = { manifest: join(folder, MANIFEST), isNew: false };
    if (now.digest === digest) return { ...kept, notice: '' };
    if (reading.why === 'change' || reading.why === 'reload') {
      if ('problem' in located) return located;
      if (now.version !== undefined && now.version !== versionIn(folder)) return fromFolder(located);
    }
    const what = now.fault ?? `${origin} has changed`;
    const notice = `runs as it was when it was applied, for ${what}; "homeward plugins reload ${name}" takes what is there`;
    return { ...kept, notice };
  }

  /**
   * Copies a plugin.
   *
   * @param manifest where it is installed
   * @returns the manifest in the copy
   * @throws Error that says what is wrong
   */
  keep(manifest: string): string {
    const content = readPlugin(dirname(manifest));
    mkdirSync(dirname(this.#directory), { recursive: true, mode: 0o755 });
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    return join(keepPlugin(this.#directory, content), MANIFEST);
  }

  /**
   * The gateway is about to run something else: until {@link endChange} no copy is removed.
   *
   * @param waits whether it is to be confirmed; what ran before is remembered then
   * @throws Error with the code of the failed system call; no change has begun then
   */
  beginChange(waits: boolean): void {
    if (waits && this.#before === undefined && Object.keys(this.#applied).length > 0) {
      this.#write(BEFORE, this.#applied);
      this.#before = this.#applied;
    }
    this.#isChanging = true;
  }

  /**
   * What runs has been settled, whatever came of the change.
   *
   * @param waits whether it is still to be confirmed
   * @throws Error with the code of the failed system call
   */
  endChange(waits: boolean): void {
    this.#isChanging = false;
    if (!waits && this.#before !== undefined) {
      rmSync(join(this.#directory, BEFORE), { force: true });
      this.#before = undefined;
    }
    this.#removeOthers();
  }

  /**
   * The gateway runs this configuration: what it has of copies is what was applied.
   *
   * @throws Error with the code of the failed system call
   */
  applied({ plugins }: Config): void {
    const applied = Object.fromEntries(
      plugins.flatMap(({ name, manifestPath }) => {
        const folder = dirname(manifestPath);
        const isKept = dirname(dirname(folder)) === this.#directory;
        return isKept ? [[name, keptDigest(folder)] as const] : [];
      }),
    );
    if (JSON.stringify(applied) === JSON.stringify(this.#applied)) return;
    this.#write(APPLIED, applied);
    this.#applied = applied;
    if (!this.#isChanging) this.#removeOthers();
  }

  #write(name: string, digests: Readonly<Record<string, string>>): void {
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    writeFileAtomic(join(this.#directory, name), `${JSON.stringify(digests, null, 2)}\n`, 0o600);
  }

  /** Copies that were looked at and not applied, that nobody goes back to, and halves of processes that were killed. */
  #removeOthers(): void {
    if (!existsSync(this.#directory)) return;
    const digests = [...Object.values(this.#applied), ...Object.values(this.#before ?? {})];
    const needed = new Set([...digests, APPLIED, BEFORE]);
    for (const name of readdirSync(this.#directory)) {
      if (!needed.has(name)) rmSync(join(this.#directory, name), { recursive: true, force: true });
    }
  }
}

function fromFolder(located: Located): Chosen | { readonly problem: string } {
  return 'problem' in located ? located : { manifest: located.manifest, isNew: true, notice: '' };
}

interface Look {
  readonly digest?: string;
  readonly version?: string | undefined;
  readonly fault?: string;
}

/** What there is of a plugin where it is installed: its digest, or why there is none. */
function lookAt(located: Located): Look {
  if ('problem' in located) return { fault: located.problem };
  const folder = dirname(located.manifest);
  const fault = untrustedFile(folder);
  if (fault !== undefined) return { fault };
  try {
    const { digest } = readPlugin(folder);
    return { digest, version: versionIn(folder) };
  } catch (error) {
    return { fault: (error as Error).message };
  }
}

/** Undefined: its manifest cannot be read. */
function versionIn(folder: string): string | undefined {
  try {
    const { version } = JSON.parse(readFileSync(join(folder, MANIFEST), 'utf8')) as { version?: unknown };
    return typeof version === 'string' ? version : undefined;
  } catch {
    return undefined;
  }
}

/** Undefined if nothing was written. */
function readDigests(file: string): Readonly<Record<string, string>> | undefined {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw error;
  }
  let read: Record<string, unknown>;
  try {
    read = JSON.parse(text) as Record<string, unknown>;
  } catch (error) {
    const why = (error as Error).message;
    throw new Error(
      `nobody can say which plugins were applied: ${file} is no JSON (${why}); remove it to take them as they are`,
    );
  }
  return Object.fromEntries(
    Object.entries(read).filter((entry): entry is [string, string] =>
      /^[0-9a-f]{64}$/.test(String(entry[1])),
    ),
  );
}
