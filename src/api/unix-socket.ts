/**
 * The Unix socket of the API: made with its mode from the first moment, given to the group `homeward` where the
 * host has one, and never taken from somebody who listens there.
 */
import { chmodSync, chownSync, lstatSync, readFileSync, rmSync } from 'node:fs';
import type { Server } from 'node:http';
import { createConnection } from 'node:net';
import { dirname } from 'node:path';
import { makeDirectories } from '../control/make-directories.ts';

/** Its members may use the API. */
const GROUP = 'homeward';

/** The socket's path cannot be used. */
export class ApiSocketError extends Error {
  override readonly name = 'ApiSocketError';
  readonly code = 'api_socket';
}

/**
 * Listens. If the socket lies in `runtimeDirectory`, which is private, the group may pass through it.
 *
 * @throws ApiSocketError
 */
export async function listenOnSocket(
  server: Server,
  socketPath: string,
  runtimeDirectory: string | undefined,
  groupName = GROUP,
): Promise<void> {
  await makeRoom(socketPath);
  await listen(server, socketPath);
  const group = groupId(groupName);
  if (group === undefined) return;
  try {
    if (dirname(socketPath) === runtimeDirectory) {
      chownSync(runtimeDirectory, -1, group);
      chmodSync(runtimeDirectory, 0o710);
    }
    chownSync(socketPath, -1, group);
  } catch (error) {
    server.close();
    throw new ApiSocketError(
      `${socketPath} cannot be given to the group ${groupName}: ${(error as Error).message}`,
    );
  }
}

function listen(server: Server, socketPath: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const refuse = (error: NodeJS.ErrnoException): void => {
      reject(new ApiSocketError(`the API cannot listen on ${socketPath}: ${error.message}`));
    };
    server.once('error', refuse);
    // The socket is made within this call: nobody finds it with a wider mode.
    const former = process.umask(0o117);
    try {
      server.listen(socketPath, () => {
        server.off('error', refuse);
        chmodSync(socketPath, 0o660);
        resolve();
      });
    } finally {
      process.umask(former);
    }
  });
}

/** Removes a socket without a listener. */
async function makeRoom(socketPath: string): Promise<void> {
  const directory = dirname(socketPath);
  try {
    makeDirectories(directory, 0o755);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new ApiSocketError(`${directory} cannot be made (${code}): give another path as api.socket`);
  }
  const status = lstatSync(socketPath, { throwIfNoEntry: false });
  if (status === undefined) return;
  if (!status.isSocket())
    throw new ApiSocketError(
      `${socketPath} is there already and is no socket: give another path as api.socket`,
    );
  const isServed = await new Promise<boolean>((resolve) => {
    const probe = createConnection(socketPath);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
  if (isServed) {
    throw new ApiSocketError(`somebody listens on ${socketPath}: give another path as api.socket`);
  }
  rmSync(socketPath);
}

/** A group of this host's own files; undefined if there is none of that name. */
function groupId(name: string): number | undefined {
  let groups: string;
  try {
    groups = readFileSync('/etc/group', 'utf8');
  } catch {
    return undefined;
  }
  for (const line of groups.split('\n')) {
    const [group, , id] = line.split(':');
    if (group === name && id !== undefined && /^\d+$/.test(id)) return Number(id);
  }
  return undefined;
}
