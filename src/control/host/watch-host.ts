/**
 * Follows changes of the host by two subscriptions: an `ip monitor` child for interfaces, addresses, routes and rules, an
 * `nft monitor` child for our rules, both for as long as control runs. What changed is not read from them; the
 * facts are collected anew, at most every half second.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { STEERING_TABLE } from '../../tunnel/ipsec/user-space-host.ts';
import { childEnvironment } from '../child-environment.ts';
import { GUARD_TABLE } from './guard-rules.ts';

/** Changes come in swarms (one command, many messages): wait until they have settled. */
const SETTLE_MS = 100;
/** Between two reports. */
const INTERVAL_MS = 500;
/** A subscription that ended is made anew. */
const RESTART_MS = 1000;
/** A line of `nft monitor` about our tables: `delete table inet homeward`, `add rule netdev homeward ...`. */
const NAMES_OURS = new RegExp(`\\b(inet|netdev|arp) (${GUARD_TABLE}|${STEERING_TABLE})\\b`);

/**
 * Runs a command until the standard input ends, which it does when control has ended, however that ends: a subscription
 * that nobody reads would stay until something happens on the host, and keep its network namespace alive.
 */
const WHILE_READ = '"$@" & exec >&-; read -r _; kill "$!"; wait';

export class HostWatch {
  readonly #onChange: () => void;
  readonly #children = new Set<ChildProcess>();
  #timer: NodeJS.Timeout | undefined;
  #lastReport = 0;
  #stopped = false;

  /** @param onChange called after something may have changed; once, too, when a lost subscription is back. */
  constructor(onChange: () => void) {
    this.#onChange = onChange;
  }

  start(): void {
    this.#follow('ip', ['monitor', 'link', 'address', 'route', 'rule'], () => true);
    // Others' rules may change all the time: only a line that names our tables counts.
    this.#follow('nft', ['monitor'], (line) => NAMES_OURS.test(line));
  }

  /** Resolves when the children are gone. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await Promise.all(
      [...this.#children].map((child) => {
        const gone = new Promise((resolve) => child.once('close', resolve));
        child.stdin?.end();
        return gone;
      }),
    );
  }

  #follow(command: string, args: readonly string[], concernsUs: (line: string) => boolean): void {
    const child = spawn('sh', ['-c', WHILE_READ, 'sh', command, ...args], {
      stdio: ['pipe', 'pipe', 'ignore'],
      env: childEnvironment(),
      // In a session of its own: what is typed at the terminal must not end the shell before its child.
      detached: true,
    });
    this.#children.add(child);
    child.stdin.on('error', () => {});
    createInterface({ input: child.stdout })
      .on('line', (line) => {
        if (concernsUs(line)) this.#report();
      })
      // The subscription has ended by itself.
      .on('close', () => child.stdin.end());
    child.on('error', () => {});
    child.on('close', () => {
      this.#children.delete(child);
      if (this.#stopped) return;
      setTimeout(() => {
        if (this.#stopped) return;
        this.#follow(command, args, concernsUs);
        this.#report();
      }, RESTART_MS).unref();
    });
  }

  #report(): void {
    if (this.#stopped || this.#timer !== undefined) return;
    const delay = Math.max(SETTLE_MS, this.#lastReport + INTERVAL_MS - performance.now());
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#lastReport = performance.now();
      this.#onChange();
    }, delay);
  }
}
