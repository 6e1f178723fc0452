/**
 * Whose files are run as code: modules of plugins are loaded by processes that may do everything on the host, so nobody may
 * be able to change them who may not do that anyway. As sudo and sshd ask of their own files:
 *
 * ```
 *  /opt                   the folders above: of root or of the user who runs homeward, and writable by nobody else -
 *  /opt/limiter           or sticky like /tmp, where nobody can put something else in place of what is another's
 *  /opt/limiter/data.ts   the folder and all in it: the same, sticky or not
 * ```
 *
 * Symbolic links are followed one by one: each could be put somewhere else by its owner, or by whoever may write its
 * folder. The plugins that come with homeward are as good as homeward itself and are not asked about.
 *
 * Neighbours: `control/config/checks/plugins.ts` (asks when a configuration is looked at), `dataplane/plugin-instance.ts`
 * (asks again before it loads), `module-file.ts` (where homeward's own are).
 */
import { existsSync, lstatSync, readdirSync, readlinkSync, type Stats } from 'node:fs';
import { isAbsolute, join, sep } from 'node:path';
import { isOwnPlugin } from './module-file.ts';

const ROOT = 0;
const WRITABLE_BY_GROUP = 0o020;
const WRITABLE_BY_OTHERS = 0o002;
const STICKY = 0o1000;
/** As many as Linux follows (path_resolution(7)). */
const MAX_LINKS = 40;

/**
 * Looks at a plugin's folder, at what is in it and at the folders above.
 *
 * @param folder absolute path
 * @returns undefined if it is trusted or not there; otherwise what is wrong and what would be right
 */
export function untrustedFile(folder: string): string | undefined {
  if (isOwnPlugin(folder)) return undefined;
  try {
    return wayFault(folder) ?? (existsSync(folder) ? contentFault(folder) : undefined);
  } catch (error) {
    return `nobody can say who may write ${folder}: ${(error as Error).message}`;
  }
}

/** The way to a file or folder, through every symbolic link, and its end; or as far as there is one. */
function wayFault(path: string): string | undefined {
  const names = namesOf(path);
  let at = '/';
  let fault = faultOf(at, lstatSync(at), true);
  let links = 0;
  for (let name = names.shift(); name !== undefined && fault === undefined; name = names.shift()) {
    const next = join(at, name);
    const stat = lstatSync(next, { throwIfNoEntry: false });
    if (stat === undefined) return undefined;
    if (stat.isSymbolicLink()) {
      if (++links > MAX_LINKS) return `${path} leads through too many symbolic links; write where it is`;
      const target = readlinkSync(next);
      names.unshift(...namesOf(target));
      if (isAbsolute(target)) at = '/';
      fault = ownerFault(next, stat);
    } else {
      at = next;
      fault = faultOf(at, stat, names.length > 0);
    }
  }
  return fault;
}

/** What is in a folder, at any depth. */
function contentFault(folder: string): string | undefined {
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    const file = join(folder, name);
    const stat = lstatSync(file);
    let fault = stat.isSymbolicLink() ? ownerFault(file, stat) : faultOf(file, stat, false);
    // Packages are linked into node_modules from wherever they are installed.
    if (stat.isSymbolicLink() && !name.split(sep).includes('node_modules')) fault ??= wayFault(file);
    if (fault !== undefined) return fault;
  }
  return undefined;
}

function namesOf(path: string): string[] {
  return path.split('/').filter((name) => name !== '' && name !== '.');
}

function faultOf(path: string, stat: Stats, isAbove: boolean): string | undefined {
  const { mode, gid } = stat;
  const foreign = WRITABLE_BY_OTHERS | (gid === ROOT ? 0 : WRITABLE_BY_GROUP);
  const isOpen = (mode & foreign) !== 0 && !(isAbove && (mode & STICKY) !== 0);
  if (!isOpen) return ownerFault(path, stat);
  const octal = (mode & 0o7777).toString(8).padStart(4, '0');
  return `others than root may write ${path} (mode ${octal}); do "chmod go-w ${path}"`;
}

function ownerFault(path: string, { uid }: Stats): string | undefined {
  if (uid === ROOT || uid === process.geteuid?.()) return undefined;
  return `${path} belongs to user ${uid}, who could change it; do "chown root ${path}"`;
}
