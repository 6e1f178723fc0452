/**
 * What a diversion is called: its port and address space, the device that leads there, the namespace behind that.
 *
 * ```
 *  port, space    web/http                         the plugin, and the name in its manifest
 *  device         hwd-8c1f02aa                     in our network namespace; Ethernet, one end of a pair
 *  namespace      hwd-8c1f02aa-4026531840          with the number of ours: gateways on one host do not meet
 * ```
 */
import { createHash } from 'node:crypto';

/** Name of its port and of its address space; no site, tunnel or egress has a `/` in its name. */
export function diversionPort(plugin: string, diversion: string): string {
  return `${plugin}/${diversion}`;
}

/** The device of a diversion's port, as long as interfaces' names may be. */
export function diversionDevice(port: string): string {
  return `hwd-${hashOf(port).slice(0, 8)}`;
}

/** @param instance inode of our network namespace */
export function diversionNamespace(device: string, instance: number): string {
  return `${device}-${instance}`;
}

/** MAC addresses of both ends: locally administered, and the same whenever the pair is made. */
export function diversionMacs(port: string): { readonly ours: string; readonly proxys: string } {
  const tail = hashOf(port).slice(0, 6).match(/../g)!.join(':');
  return { ours: `02:68:77:${tail}`, proxys: `02:68:78:${tail}` };
}

function hashOf(port: string): string {
  return createHash('sha256').update(port).digest('hex');
}
