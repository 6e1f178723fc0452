/**
 * Ports that the host's own sockets must leave alone, because the data plane translates to them: kept out of
 * the kernel's automatic choice by `net.ipv4.ip_local_reserved_ports` (which IPv6 obeys too). A socket that is
 * bound to one on purpose is stopped by the guard.
 *
 * What an administrator has reserved stays: ours are added, and taken away again at `down`.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import type { HostSetup } from '../compile/host-setup.ts';
import type { PortRange } from '../config/config.ts';

const SYSCTL_PATH = '/proc/sys/net/ipv4/ip_local_reserved_ports';

/** Sorted, without overlaps; neighbours joined. */
export function mergeRanges(ranges: readonly PortRange[]): PortRange[] {
  const merged: PortRange[] = [];
  for (const { min, max } of [...ranges].sort((a, b) => a.min - b.min)) {
    const last = merged.at(-1);
    if (last !== undefined && min <= last.max + 1) {
      merged[merged.length - 1] = { min: last.min, max: Math.max(last.max, max) };
    } else {
      merged.push({ min, max });
    }
  }
  return merged;
}

/** Reads `8080,32768-40000`. */
export function parsePortRanges(text: string): PortRange[] {
  return text
    .trim()
    .split(',')
    .filter((part) => part !== '')
    .map((part) => {
      const [min, max = min] = part.split('-').map(Number);
      return { min: min!, max: max! };
    });
}

/** The inverse of {@link parsePortRanges}. */
export function formatPortRanges(ranges: readonly PortRange[]): string {
  return ranges.map(({ min, max }) => (min === max ? `${min}` : `${min}-${max}`)).join(',');
}

/** All ports that are ours on addresses shared with the host. */
export function reservedPorts(setup: HostSetup): PortRange[] {
  return mergeRanges(
    setup.devices.flatMap((device) =>
      device.role !== 'shared'
        ? []
        : device.sharedAddresses.flatMap(({ address, ports }) => [
            ports,
            ...device.portForwards
              .filter((forward) => forward.address === address)
              .map(({ port }) => ({ min: port, max: port })),
          ]),
    ),
  );
}

/** The ranges without these ports. */
export function subtractRanges(from: readonly PortRange[], without: readonly PortRange[]): PortRange[] {
  return without.reduce<PortRange[]>(
    (rest, { min, max }) =>
      rest.flatMap((range) =>
        range.max < min || range.min > max
          ? [range]
          : [
              { min: range.min, max: min - 1 },
              { min: max + 1, max: range.max },
            ].filter((part) => part.min <= part.max),
      ),
    mergeRanges(from),
  );
}

/** What is reserved in this network namespace now. */
export function readReservedPorts(): PortRange[] {
  return parsePortRanges(readFileSync(SYSCTL_PATH, 'latin1'));
}

/** Reserves exactly these. */
export function writeReservedPorts(ranges: readonly PortRange[]): void {
  writeFileSync(SYSCTL_PATH, `${formatPortRanges(mergeRanges(ranges))}\n`);
}
