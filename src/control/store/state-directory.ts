/**
 * Where what outlives a reboot is kept, and how files are written there.
 *
 * ```
 *  /var/lib/homeward/                       gateway.state_dir; HOMEWARD_STATE_DIR where the configuration names none
 *    homeward.yaml-1f3a9c07/    0700        one for each configuration file: its name and a hash of its whole path
 *      lock                                 held by the control process that runs this configuration
 *      history.json             0600        `history.ts`
 *      12.yaml                  0600        the text of revision 12
 *      plugins/                 0700        copies of the plugins that run: `../plugins/kept-plugins.ts`
 * ```
 */
import { createHash } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  existsSync,
  fchmodSync,
  fchownSync,
  fsyncSync,
  openSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { makeDirectories } from '../make-directories.ts';

const DEFAULT_STATE_DIRECTORY = '/var/lib/homeward';

/** Where the state of the configuration file at `configPath` is kept. Makes nothing. */
export function historyDirectory(
  configPath: string,
  stateDir: string | null,
  environment: NodeJS.ProcessEnv = process.env,
): string {
  const path = resolve(configPath);
  const hash = createHash('sha256').update(path).digest('hex').slice(0, 8);
  const base = stateDir ?? environment.HOMEWARD_STATE_DIR ?? '';
  return join(base === '' ? DEFAULT_STATE_DIRECTORY : resolve(base), `${basename(path)}-${hash}`);
}

/**
 * Makes a directory that only this user may look into.
 *
 * @throws Error if it cannot be made or belongs to another user.
 */
export function makePrivateDirectory(directory: string): void {
  makeDirectories(dirname(directory), 0o755);
  makeDirectories(directory, 0o700);
  if (statSync(directory).uid !== process.getuid?.()) throw new Error(`${directory} belongs to someone else`);
  chmodSync(directory, 0o700);
}

/** A file that is written but not yet in place. */
export interface StagedFile {
  /** Puts it in place of the former one. */
  commit(): void;
  /** Removes it; the former one stays. */
  discard(): void;
}

/**
 * Writes the new content of a file beside it, whole and on the disk: what is left to do cannot fail for want of room
 * or permission. The new file has the mode and the owner of the former one; a symbolic link stays one.
 *
 * @param mode of a file that is new.
 * @throws Error with the code of the failed system call; nothing is left then.
 */
export function stageFile(path: string, text: string, mode: number): StagedFile {
  const target = realPath(path);
  const temporary = `${target}.${process.pid}.tmp`;
  const former = statSync(target, { throwIfNoEntry: false });
  const discard = (): void => rmSync(temporary, { force: true });
  discard();
  try {
    removeStrays(target);
    const file = openSync(temporary, 'wx', 0o600);
    try {
      writeFileSync(file, text);
      if (former !== undefined) fchownSync(file, former.uid, former.gid);
      fchmodSync(file, former === undefined ? mode : former.mode & 0o777);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
  } catch (error) {
    discard();
    throw error;
  }
  return {
    discard,
    commit: () => {
      renameSync(temporary, target);
      syncDirectory(dirname(target));
    },
  };
}

/** What processes that were killed have left beside the file. */
function removeStrays(target: string): void {
  const directory = dirname(target);
  for (const name of readdirSync(directory)) {
    if (!name.startsWith(`${basename(target)}.`)) continue;
    const writer = /^\.(\d+)\.tmp$/.exec(name.slice(basename(target).length))?.[1];
    if (writer === undefined || existsSync(`/proc/${writer}`)) continue;
    rmSync(join(directory, name), { force: true });
  }
}

/** As {@link stageFile}, and in place at once: a crash leaves the former content or the new one. */
export function writeFileAtomic(path: string, text: string, mode: number): void {
  stageFile(path, text, mode).commit();
}

/** What was renamed or removed in it stays so, also after a crash of the machine. */
export function syncDirectory(directory: string): void {
  const file = openSync(directory, 'r');
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return resolve(path);
  }
}
