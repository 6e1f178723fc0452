/**
 * Where an instance keeps what must outlive its processes, and where they meet.
 *
 * ```
 *  /run/homeward/<inode of the network namespace>/     0700; HOMEWARD_RUNTIME_DIR says another place
 *    lock               held by the control process (`lock.ts`)
 *    dataplane.sock     the data plane listens here (`dataplane/messages.ts`)
 *    dataplane.json     pid of the data plane, and when it began (`data-plane-process.ts`)
 *    dataplane.log      what the data plane wrote to its standard output and error, the last MiB of it at most
 *    identities.json    name -> space id, port index and generation
 *    host-state.json    what `down` restores (`control/host/links.ts`), and whose state this is
 *    ipsec/             configuration and sockets of IKE daemons (`tunnel/ipsec/charon.ts`)
 *    api.sock           the API, where the configuration names no other place
 *    flow-memory        mapped by the data plane; if this is no tmpfs, then instead in
 *  /dev/shm/homeward-<inode>[-<hash>]/flow-memory
 *    prepared/         beside the flow memory: what plugins have made of their options (`plugins/preparations.ts`)
 *    flow-events       likewise, where there is a flow log: what control has not read yet
 * ```
 *
 * Named after the network namespace, because that is what one instance owns: two namespaces of a host may each
 * run one. With HOMEWARD_RUNTIME_DIR the directory in /dev/shm carries a hash of its path too.
 */
import { createHash } from 'node:crypto';
import { chmodSync, lstatSync, readdirSync, rmSync, statfsSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { flowEventsPath } from '../../dataplane/flow-events-file.ts';
import { PRINTED_OUTPUT } from '../../dataplane/printed-output.ts';
import { makeDirectories } from '../make-directories.ts';

/** Paths of one instance. */
export interface RuntimeDirectory {
  readonly directory: string;
  readonly lockPath: string;
  readonly dataPlaneSocketPath: string;
  readonly dataPlaneProcessPath: string;
  readonly dataPlaneLogPath: string;
  readonly identitiesPath: string;
  readonly hostStatePath: string;
  readonly defaultApiSocketPath: string;
  /** Directory of the flow memory, on tmpfs; may be the runtime directory itself. */
  readonly flowMemoryDirectory: string;
  readonly flowMemoryPath: string;
  /** Beside it; made by who needs it. */
  readonly preparationsDirectory: string;
}

const TMPFS_MAGIC = 0x01021994;
const RAMFS_MAGIC = 0x858458f6;

/** Inode of this process's network namespace: what the kernel knows it by while it lives. */
export function networkNamespaceInode(pid: number | 'self' = 'self'): number {
  return statSync(`/proc/${pid}/ns/net`).ino;
}

/**
 * The paths of this namespace's instance. Makes the runtime directory (0700) unless it is there, and nothing else: who
 * finds the lock held by somebody else has made nothing that is left over when that one ends.
 *
 * @throws Error if the directory cannot be made or belongs to another user.
 */
export function openRuntimeDirectory(environment: NodeJS.ProcessEnv = process.env): RuntimeDirectory {
  const override = environment.HOMEWARD_RUNTIME_DIR;
  const inode = networkNamespaceInode();
  const directory = override ? resolve(override) : `/run/homeward/${inode}`;
  makePrivate(directory);
  const flowMemoryDirectory = onTmpfs(directory)
    ? directory
    : `/dev/shm/homeward-${inode}${override ? `-${shortHash(directory)}` : ''}`;
  return {
    directory,
    lockPath: join(directory, 'lock'),
    dataPlaneSocketPath: join(directory, 'dataplane.sock'),
    dataPlaneProcessPath: join(directory, 'dataplane.json'),
    dataPlaneLogPath: join(directory, PRINTED_OUTPUT),
    identitiesPath: join(directory, 'identities.json'),
    hostStatePath: join(directory, 'host-state.json'),
    defaultApiSocketPath: join(directory, 'api.sock'),
    flowMemoryDirectory,
    flowMemoryPath: join(flowMemoryDirectory, 'flow-memory'),
    preparationsDirectory: join(flowMemoryDirectory, 'prepared'),
  };
}

/**
 * Makes the directory of the flow memory (0700) unless it is there. The caller holds the instance's lock.
 *
 * @throws Error as {@link openRuntimeDirectory}
 */
export function makeFlowMemoryDirectory({ flowMemoryDirectory }: RuntimeDirectory): void {
  makePrivate(flowMemoryDirectory);
}

/** Removes flow memory and identities: they are worth something only together. */
export function forgetFlows(runtime: RuntimeDirectory): void {
  rmSync(runtime.flowMemoryPath, { force: true });
  // Half-made, of a data plane that was killed.
  rmSync(`${runtime.flowMemoryPath}.next`, { force: true });
  rmSync(runtime.identitiesPath, { force: true });
}

/** Removes everything of the instance but the lock, which its holder removes last. */
export function clearRuntimeDirectory(runtime: RuntimeDirectory): void {
  forgetFlows(runtime);
  rmSync(runtime.dataPlaneSocketPath, { force: true });
  rmSync(runtime.dataPlaneProcessPath, { force: true });
  rmSync(runtime.dataPlaneLogPath, { force: true });
  rmSync(runtime.hostStatePath, { force: true });
  rmSync(runtime.defaultApiSocketPath, { force: true });
  rmSync(flowEventsPath(runtime.flowMemoryPath), { force: true });
  rmSync(join(runtime.directory, 'ipsec'), { recursive: true, force: true });
  rmSync(runtime.preparationsDirectory, { recursive: true, force: true });
  // Half-written files of a process that was killed.
  for (const name of readdirSync(runtime.directory)) {
    const isHalf =
      /^(identities|host-state|dataplane)\.json\..*tmp$/.test(name) || /^capture-\d+\.ring$/.test(name);
    if (isHalf) rmSync(join(runtime.directory, name));
  }
  if (runtime.flowMemoryDirectory !== runtime.directory) {
    rmSync(runtime.flowMemoryDirectory, { recursive: true, force: true });
  }
}

/** In /dev/shm anyone may make directories: one that is not ours, or a link, is refused. */
function makePrivate(directory: string): void {
  // The directory above may hold an API socket that others are let in by.
  try {
    makeDirectories(dirname(directory), 0o755);
    makeDirectories(directory, 0o700);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EACCES') throw new Error(`no permission to make ${directory}: run as root`);
    throw new Error(
      `${directory} cannot be made (${code}): see what stands there, or name another place by HOMEWARD_RUNTIME_DIR`,
    );
  }
  const status = lstatSync(directory);
  if (!status.isDirectory() || status.uid !== process.getuid?.()) {
    throw new Error(`${directory} belongs to someone else: remove it`);
  }
  chmodSync(directory, 0o700);
}

function onTmpfs(directory: string): boolean {
  const magic = statfsSync(directory).type;
  return magic === TMPFS_MAGIC || magic === RAMFS_MAGIC;
}

function shortHash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 8);
}
