/** The demo that is up: where its namespaces are, for `scripts/demo exec`. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

const STATE_PATH = '/run/homeward-demo/state.json';
const EXIT_USAGE = 2;

export interface RunningDemo {
  readonly pid: number;
  /** Namespace by the name that a user gives it. */
  readonly places: Readonly<Record<string, string>>;
  /** Runtime directory of homeward, by place. */
  readonly runtimeDirectories: Readonly<Record<string, string>>;
}

/** The demo that runs now; undefined if none does. */
export function findDemo(): RunningDemo | undefined {
  let demo: RunningDemo;
  try {
    demo = JSON.parse(readFileSync(STATE_PATH, 'utf8'));
  } catch {
    return undefined;
  }
  // Its namespaces go with it; a pid alone may be somebody else's by now.
  const lives = Object.values(demo.places).every((namespace) => existsSync(`/run/netns/${namespace}`));
  return lives ? demo : undefined;
}

export function rememberDemo(demo: RunningDemo): void {
  mkdirSync(dirname(STATE_PATH), { recursive: true });
  writeFileSync(STATE_PATH, JSON.stringify(demo));
}

export function forgetDemo(): void {
  rmSync(dirname(STATE_PATH), { recursive: true, force: true });
}

/** Runs a command in a place of the running demo, at the user's terminal. Returns the exit status. */
export function executeIn(place: string | undefined, command: readonly string[]): number {
  const demo = findDemo();
  if (demo === undefined) {
    process.stderr.write('demo: no demo is up; start one with scripts/demo in another terminal\n');
    return 1;
  }
  const namespace = place === undefined ? undefined : demo.places[place];
  if (place === undefined || namespace === undefined || command.length === 0) {
    const places = Object.keys(demo.places).join(', ');
    process.stderr.write(`demo: write exec PLACE COMMAND...; places: ${places}\n`);
    return EXIT_USAGE;
  }
  const directory = demo.runtimeDirectories[place];
  const environment =
    directory === undefined ? process.env : { ...process.env, HOMEWARD_RUNTIME_DIR: directory };
  const { status, error } = spawnSync('ip', ['netns', 'exec', namespace, ...command], {
    stdio: 'inherit',
    env: environment,
  });
  if (error !== undefined) process.stderr.write(`demo: ${error.message}\n`);
  return status ?? 1;
}
