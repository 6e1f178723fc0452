/**
 * What was changed on the host and how it was before, so that `down` can put it back, also after a crash: it is
 * written before a change is made.
 *
 * `mark` names the network namespace and the boot it was written in. A file with another mark speaks of a namespace
 * that is gone (inodes are given again) or of a time before the last boot, and so does the flow memory beside it.
 */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import * as z from 'zod';

const linkStateSchema = z.strictObject({
  name: z.string(),
  ifindex: z.int(),
  up: z.boolean(),
  arp: z.boolean(),
  /** null: the namespace has no IPv6. */
  disableIpv6: z.enum(['0', '1']).nullable(),
  /** Values by name, of /proc/sys/net/ipv4/conf/NAME. */
  ipv4: z.record(z.string(), z.string()),
});

const greLinkSchema = z.strictObject({
  kind: z.enum(['gre', 'ip6gre']),
  local: z.string(),
  remote: z.string(),
  key: z.int().nullable(),
  checksum: z.boolean(),
  sequence: z.boolean(),
  ttl: z.int(),
});

const madeLinkSchema = z.strictObject({
  name: z.string(),
  /** By which it is known, whatever its name; 0: nobody has looked since it was made. */
  ifindex: z.int().default(0),
  /** What it was made of, and what the kernel tells its packets by (`kernel-links.ts`). */
  arguments: z.string(),
  ends: z.string(),
  /** What the guard knew of it last, for when no configuration names it any more; null: an earlier version has written this. */
  tunnel: z
    .strictObject({
      link: z.discriminatedUnion('kind', [
        greLinkSchema,
        z.strictObject({ kind: z.literal('xfrm'), interfaceId: z.int() }),
      ]),
      underlay: z.string().nullable(),
      requestId: z.int().nullable(),
    })
    .nullable()
    .default(null),
});

const hostStateSchema = z.strictObject({
  version: z.literal(1),
  mark: z.string(),
  /** Interfaces that we changed, as they were. */
  links: z.array(linkStateSchema),
  /** TUN devices that we made. */
  tuns: z.array(z.string()),
  /** Tunnel interfaces that the kernel made for us. */
  madeLinks: z.array(madeLinkSchema).default([]),
  /** Devices that lead to namespaces which we made (`namespaces.ts`). */
  namespaces: z.array(z.string()).default([]),
  /** Ports that we added to the host's reserved ones. */
  reservedPorts: z.array(z.strictObject({ min: z.int(), max: z.int() })),
});

export type LinkState = z.infer<typeof linkStateSchema>;
export type MadeLink = z.infer<typeof madeLinkSchema>;
export type HostState = z.infer<typeof hostStateSchema>;

/** Nothing changed yet. */
export function emptyHostState(mark: string): HostState {
  return { version: 1, mark, links: [], tuns: [], madeLinks: [], namespaces: [], reservedPorts: [] };
}

/** What {@link writeHostState} wrote; undefined if there is none, or none that can be read. */
export function readHostState(path: string): HostState | undefined {
  try {
    return hostStateSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch {
    return undefined;
  }
}

/** Whole or not at all. */
export function writeHostState(path: string, state: HostState): void {
  const temporary = `${path}.tmp`;
  try {
    const file = openSync(temporary, 'w', 0o600);
    try {
      writeSync(file, `${JSON.stringify(state, null, 1)}\n`);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}
