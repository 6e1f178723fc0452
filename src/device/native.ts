/**
 * Loads the native part (`native/*.c`, built by `scripts/build-native`) and gives it types and errors.
 *
 * What is here beside the loop: memory mapped from a file, file locks, and Unix stream sockets for the data
 * plane, which blocks in its loop and so cannot use Node's own. `native-io.ts` is the loop's only user.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { getSystemErrorMap } from 'node:util';

/** The native loop object; opaque. */
export interface NativeLoop {
  readonly loop: unique symbol;
}

/** Functions of the native part as they are: negative numbers are `-errno`. */
export interface NativeBinding {
  allocate(bytes: number): ArrayBuffer | number;
  mapFile(path: string, bytes: number, create: number, readOnly: number): ArrayBuffer | number;
  lockFile(path: string): number;
  lockNamespace(name: string): number;
  namespaceLockHolder(name: string): number;
  rxAreaBytes(rxFrames: number, byteQuota: number): number;
  loopCreate(
    arena: Uint8Array,
    rxOffset: number,
    byteQuota: number,
    lists: readonly [rx: Int32Array, tx: Int32Array, status: Int32Array, readyIds: Int32Array],
    errors: readonly [tx: Float64Array, rx: Float64Array],
    states: Uint8Array,
  ): NativeLoop | number;
  loopClose(loop: NativeLoop): void;
  addTun(
    loop: NativeLoop,
    index: number,
    name: string,
    mtu: number,
    txQueueFrames: number,
    persist: number,
  ): number;
  addPacket(
    loop: NativeLoop,
    index: number,
    name: string,
    kind: number,
    filter: Uint8Array,
    qdiscBypass: number,
    coalesceGre: number,
  ): number;
  setFilter(loop: NativeLoop, index: number, filter: Uint8Array): number;
  removeDevice(loop: NativeLoop, index: number): void;
  checkDevice(loop: NativeLoop, index: number): number;
  watch(loop: NativeLoop, fd: number, id: number, writable: number): number;
  unwatch(loop: NativeLoop, fd: number): number;
  wake(loop: NativeLoop): number;
  burst(loop: NativeLoop, txCount: number, waitMs: number): number;
  unixListen(path: string): number;
  unixAccept(fd: number): number;
  unixRead(fd: number, bytes: Uint8Array): number;
  unixWrite(fd: number, bytes: Uint8Array, offset: number, length: number): number;
  unixSendDatagram(path: string, bytes: Uint8Array): number;
  closeFd(fd: number): number;
  networkNamespaceCookie(): bigint | number;
  nftState(table: string): NftState | number;
  startWatchdog(word: Int32Array, accused: Int32Array, limitMs: number, slowLimitMs: number): number;
  lastStep(): string;
}

/** See {@link nftState}. */
export interface NftState {
  /** Each change of any rules of the namespace, whoever makes it, adds one; 32 bits, never 0. */
  readonly generation: number;
  /** The same number: the same tables, chains and rules, not only equal ones. */
  readonly fingerprint: bigint;
}

/** A failed system call. `code` is its errno's name (`EBUSY`), `step` what was being done. */
export class NativeError extends Error {
  override readonly name = 'NativeError';
  readonly code: string;
  readonly errno: number;
  readonly step: string;

  constructor(what: string, errno: number, step: string) {
    const known = getSystemErrorMap().get(-errno);
    const code = known === undefined ? `E${errno}` : known[0];
    const remedy = REMEDIES[`${step} ${code}`];
    super(
      `${what}: ${known === undefined ? code : `${known[1]} (${code})`}, at ${step}${remedy === undefined ? '' : `; ${remedy}`}`,
    );
    this.code = code;
    this.errno = errno;
    this.step = step;
  }
}

/** What helps, where the kernel's words do not say so. */
const REMEDIES: Readonly<Record<string, string>> = {
  'SO_ATTACH_FILTER ENOMEM':
    'the filter is larger than net.core.optmem_max allows: sysctl -w net.core.optmem_max=131072',
};

/** Linux errno values that are answers, not errors. */
const EAGAIN = 11;
const EINTR = 4;
const EPIPE = 32;
const EADDRINUSE = 98;
const ECONNABORTED = 103;
const ECONNRESET = 104;
const ENOTCONN = 107;

function load(): NativeBinding {
  if (new Uint8Array(new Uint32Array([1]).buffer)[0] !== 1) {
    throw new Error('homeward runs on little-endian machines only');
  }
  // The project's root: upwards from src/device, or from dist/src/device.
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json')) && folder !== dirname(folder)) folder = dirname(folder);
  const path = join(folder, 'build', 'homeward.node');
  if (!existsSync(path)) {
    throw Object.assign(new Error(`the native part is not built (${path}): run scripts/build-native`), {
      code: 'ENOENT',
    });
  }
  const loaded: { exports: NativeBinding } = { exports: {} as NativeBinding };
  process.dlopen(loaded, path);
  return loaded.exports;
}

let binding: NativeBinding | undefined;

/** The native part, loaded at first use. Throws an Error that tells to build it if it is not there. */
export function native(): NativeBinding {
  binding ??= load();
  return binding;
}

/** Passes a result on, or throws {@link NativeError}; `what` begins the message. */
export function checked<T>(result: T | number, what: string): T | number {
  if (typeof result === 'number' && result < 0) throw new NativeError(what, -result, native().lastStep());
  return result;
}

/** Page-aligned, zeroed memory outside the heap, given back when the buffer is collected. */
export function allocate(bytes: number): ArrayBuffer {
  return checked(native().allocate(bytes), `allocate ${bytes} bytes`) as ArrayBuffer;
}

export interface MapFileOptions {
  /** Make the file (mode 0600), and extend it to the length; its blocks are reserved. */
  readonly create?: boolean;
  /** Map for reading only. **Writing into the buffer then ends the process by SIGSEGV.** */
  readonly readOnly?: boolean;
}

/**
 * Maps the first `bytes` of a file, shared with every process that maps it. Unmapped when the buffer is
 * collected. Throws {@link NativeError}: `ENOENT`; `EINVAL` if the file is shorter and `create` is not set;
 * `ENOSPC`.
 */
export function mapFile(path: string, bytes: number, options: MapFileOptions = {}): ArrayBuffer {
  const result = native().mapFile(path, bytes, options.create ? 1 : 0, options.readOnly ? 1 : 0);
  return checked(result, `map ${path}`) as ArrayBuffer;
}

/**
 * Takes an exclusive lock on a file, which is made if needed. Returns a descriptor that holds the lock until
 * {@link closeFd} or the end of the process, or null if another descriptor holds it.
 */
export function lockFile(path: string): number | null {
  const result = native().lockFile(path);
  if (result === -EAGAIN) return null;
  return checked(result, `lock ${path}`);
}

/**
 * Takes a lock that belongs to this process's network namespace. Returns a descriptor that holds it until it is
 * closed, also in every child that was given it; or null if another process holds it.
 */
export function lockNamespace(name: string): number | null {
  const result = native().lockNamespace(name);
  if (result === -EADDRINUSE) return null;
  return checked(result, `lock the network namespace for ${name}`);
}

/** The process that took the lock of {@link lockNamespace}; undefined if that cannot be told. */
export function namespaceLockHolder(name: string): number | undefined {
  const pid = checked(native().namespaceLockHolder(name), `ask who locked ${name}`);
  return pid > 0 ? pid : undefined;
}

/**
 * Listens on a Unix stream socket, mode 0600, non-blocking. A socket that a dead process left is replaced;
 * one that somebody listens on throws `EADDRINUSE`.
 */
export function unixListen(path: string): number {
  return checked(native().unixListen(path), `listen on ${path}`);
}

/** Accepts one connection, non-blocking; -1 if none waits. */
export function unixAccept(fd: number): number {
  const result = native().unixAccept(fd);
  if (result === -EAGAIN || result === -EINTR || result === -ECONNABORTED) return -1;
  return checked(result, 'accept');
}

/** Reads what is there into `bytes`: the number of bytes, 0 if the peer has closed, -1 if nothing is there. */
export function unixRead(fd: number, bytes: Uint8Array): number {
  const result = native().unixRead(fd, bytes);
  if (result === -EAGAIN || result === -EINTR) return -1;
  if (result === -ECONNRESET) return 0;
  return checked(result, 'read a command socket');
}

/** Writes what fits of `bytes[offset .. offset + length)`: the number of bytes, or -1 if the peer has closed. */
export function unixWrite(fd: number, bytes: Uint8Array, offset: number, length: number): number {
  const result = native().unixWrite(fd, bytes, offset, length);
  if (result === -EAGAIN || result === -EINTR) return 0;
  if (result === -EPIPE || result === -ECONNRESET || result === -ENOTCONN) return -1;
  return checked(result, 'write a command socket');
}

/**
 * Sends one datagram to a Unix socket; a path that begins with `@` is an abstract name. Does not wait. Throws
 * {@link NativeError}: `ENOENT` or `ECONNREFUSED` if nobody listens there, `EAGAIN` if nobody reads.
 */
export function unixSendDatagram(path: string, bytes: Uint8Array): void {
  checked(native().unixSendDatagram(path, bytes), `send to ${path}`);
}

/** Closes a descriptor that one of these functions gave. */
export function closeFd(fd: number): void {
  checked(native().closeFd(fd), `close descriptor ${fd}`);
}

/**
 * A number that no other network namespace of this boot has, had or will have, unlike its inode. Throws
 * {@link NativeError}: `ENOPROTOOPT` before Linux 5.14.
 */
export function networkNamespaceCookie(): bigint {
  return checked(native().networkNamespaceCookie(), 'identify the network namespace') as bigint;
}

/**
 * What stands now of the nftables tables of this name, families `netdev`, `inet` and `arp`, in this network namespace. Takes
 * a fraction of a millisecond. Throws {@link NativeError}: `EAGAIN` if somebody changes rules all the time, `EPERM`
 * without CAP_NET_ADMIN.
 */
export function nftState(table: string): NftState {
  return checked(native().nftState(table), 'look at nftables') as NftState;
}

/**
 * Starts a thread that sends this process a SIGINT when `word[0]` has been the same, and not 0, for longer than `limitMs`
 * (or `slowLimitMs`, if its bit 15 is set); `accused[0]` is that word then. `plugin/running-plugin.ts` draws the rest. To be
 * called by the thread that writes the word; both are in a buffer of {@link mapFile}. Called again, it looks at other
 * words, with the limits that it has. Throws {@link NativeError}: `EINVAL`, `EAGAIN`.
 */
export function startWatchdog(
  word: Int32Array,
  accused: Int32Array,
  limitMs: number,
  slowLimitMs: number,
): void {
  checked(native().startWatchdog(word, accused, limitMs, slowLimitMs), 'start the watchdog of plugins');
}
