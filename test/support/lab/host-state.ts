/** All of a namespace's state that homeward touches, and its files outside it, as text that can be compared. */
import { existsSync, readdirSync } from 'node:fs';
import type { Lab } from '../lab.ts';

/** One fact a line, counters and times left out; of each kind sorted: order is that of the last change. */
export async function hostState(lab: Lab, label: string): Promise<string> {
  const listings = [['link'], ['address'], ['route', 'table', 'all'], ['rule']].flatMap(([what, ...rest]) =>
    ['-4', '-6'].map((family) => ['-json', family, what!, 'show', ...rest]),
  );
  const listed = listings.map(async (args) => {
    const facts = JSON.parse((await lab.exec(label, 'ip', args)) || '[]') as object[];
    return facts.map((fact) => JSON.stringify(fact, withoutTimes)).sort();
  });
  const texts = [
    lab.exec(label, 'tc', ['qdisc', 'show']),
    lab.exec(label, 'nft', ['list', 'ruleset']),
    lab.exec(label, 'sysctl', ['-a', '--pattern', '^net\\.(ipv4|ipv6)\\.(conf|ip_local|ip_forward)']),
  ];
  return [...(await Promise.all(listed)).flat(), ...(await Promise.all(texts))].join('\n');
}

function withoutTimes(key: string, value: unknown): unknown {
  return key.endsWith('_life_time') ? undefined : value;
}

/** Where homeward keeps what outlives its processes: entries of the namespace with this inode. */
export function leftFiles(runtimeDirectory: string, namespaceInode: string): string[] {
  const named = ['/run/homeward', '/dev/shm'].flatMap((directory) =>
    (existsSync(directory) ? readdirSync(directory) : [])
      .filter((name) => name === namespaceInode || name.startsWith(`homeward-${namespaceInode}`))
      .map((name) => `${directory}/${name}`),
  );
  return existsSync(runtimeDirectory) ? [runtimeDirectory, ...named] : named;
}
