/**
 * The history of one configuration file: numbered revisions, which of them runs, and a change that waits for its
 * confirmation.
 *
 * ```
 *                 add (text synced, then the index)
 *   revision n  ------------------------------------>  running: n+1   pending: none
 *                      add with a deadline
 *               ------------------------------------>  running: n+1   pending: { n+1, back to n, deadline }
 *                                                            |  confirm            |  deadline, rollback
 *                                                            v                     v
 *                                                     running: n+1           add of a revision n+2 with the text of n
 * ```
 *
 * `history.json` is the index and the only truth: it is replaced whole, so that every crash leaves a state before or
 * after a step. Texts lie beside it as `N.yaml`; one that the index does not name is left over from a crash and is
 * removed. Numbers are never given twice.
 *
 * Neighbours: `state-directory.ts` (where), `configuration.ts` (when).
 */
import { readdirSync, readFileSync, renameSync, rmdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import * as z from 'zod';
import { closeFd, lockFile } from '../../device/native.ts';
import { makePrivateDirectory, syncDirectory, writeFileAtomic } from './state-directory.ts';

/** Revisions that are kept; the one that runs, and the one to go back to, whatever their number. */
const KEPT_REVISIONS = 100;

const revisionSchema = z.object({
  number: z.int().min(1),
  /** ISO 8601, UTC. */
  time: z.string(),
  /** `found`: the file was changed by other means, and found so at a start. `reverted`: not confirmed in time. */
  cause: z.enum(['found', 'applied', 'rolled_back', 'reverted']),
  /** Who, as the client of the API claims. */
  by: z.string(),
  comment: z.string(),
  /** One line for each changed object. */
  summary: z.array(z.string()),
});

const pendingSchema = z.object({
  revision: z.int().min(1),
  /** The revision to go back to. */
  previous: z.int().min(1),
  /** Milliseconds since the epoch. */
  deadline: z.number(),
  timeoutMs: z.number(),
});

const indexSchema = z.object({
  version: z.literal(1),
  running: z.int().min(1).nullable(),
  pending: pendingSchema.nullable(),
  /** Oldest first. */
  revisions: z.array(revisionSchema),
});

export type Revision = z.infer<typeof revisionSchema>;
export type PendingConfirm = z.infer<typeof pendingSchema>;
type Index = z.infer<typeof indexSchema>;

/** What is known of a revision before it has a number and a time. */
export type NewRevision = Omit<Revision, 'number' | 'time'>;

/** Another control process keeps this history. */
export class HistoryInUseError extends Error {
  override readonly name = 'HistoryInUseError';
  readonly code = 'history_in_use';

  constructor(directory: string) {
    super(
      `another homeward runs with the same configuration file and keeps its history in ${directory}; give this one a file of its own, or another gateway.state_dir`,
    );
  }
}

export class History {
  readonly directory: string;
  /** What was wrong with the history found, and was put aside; empty if nothing was. */
  readonly damage: string;
  readonly #lock: number;
  #index: Index;

  private constructor(directory: string, lock: number, index: Index, damage: string) {
    this.directory = directory;
    this.#lock = lock;
    this.#index = index;
    this.damage = damage;
  }

  /**
   * Opens a history, or begins one. Whoever has it open is its only user until {@link close}.
   *
   * @throws HistoryInUseError; Error if the directory cannot be used.
   */
  static open(directory: string): History {
    makePrivateDirectory(directory);
    const lock = lockFile(join(directory, 'lock'));
    if (lock === null) throw new HistoryInUseError(directory);
    try {
      const { index, damage } = readIndex(directory);
      removeStrays(directory, index);
      return new History(directory, lock, index, damage);
    } catch (error) {
      closeFd(lock);
      throw error;
    }
  }

  /** Lets others in. A history in which nothing was written leaves nothing. */
  close(): void {
    if (this.#index.running === null) removeEmpty(this.directory);
    closeFd(this.#lock);
  }

  /** Oldest first. */
  get revisions(): readonly Revision[] {
    return this.#index.revisions;
  }

  /** Number of the revision that runs, or ran last; null before the first. */
  get running(): number | null {
    return this.#index.running;
  }

  get pending(): PendingConfirm | null {
    return this.#index.pending;
  }

  /** The newest revision that was not only tried out; null before the first. */
  get lastGood(): number | null {
    return this.#index.pending?.previous ?? this.#index.running;
  }

  find(number: number): Revision | undefined {
    return this.#index.revisions.find((revision) => revision.number === number);
  }

  /** @throws Error if the text is not there any more. */
  text(number: number): string {
    return readFileSync(this.#textPath(number), 'utf8');
  }

  /**
   * Adds a revision, which runs from now on. `confirmMs`: it is pending, for so long; without it, nothing is.
   *
   * @returns the revision with its number.
   */
  add(text: string, revision: NewRevision, confirmMs?: number): Revision {
    const { revisions } = this.#index;
    const { lastGood } = this;
    const added: Revision = {
      number: (revisions.at(-1)?.number ?? 0) + 1,
      time: new Date().toISOString(),
      ...revision,
    };
    writeFileAtomic(this.#textPath(added.number), text, 0o600);
    const pending: PendingConfirm | null =
      confirmMs === undefined || lastGood === null
        ? null
        : {
            revision: added.number,
            previous: lastGood,
            deadline: Date.now() + confirmMs,
            timeoutMs: confirmMs,
          };
    const kept = new Set([added.number, pending?.previous]);
    const all = [...revisions, added];
    const surplus = all.slice(0, -KEPT_REVISIONS).filter(({ number }) => !kept.has(number));
    this.#write({
      version: 1,
      running: added.number,
      pending,
      revisions: all.filter((known) => !surplus.includes(known)),
    });
    for (const { number } of surplus) rmSync(this.#textPath(number), { force: true });
    return added;
  }

  /** The pending revision stays. */
  confirm(): void {
    this.#write({ ...this.#index, pending: null });
  }

  /** The pending revision did not run after all, or does not any more: the one before it does. */
  abandon(): void {
    this.#write({ ...this.#index, running: this.#index.pending?.previous ?? this.running, pending: null });
  }

  #write(index: Index): void {
    writeFileAtomic(join(this.directory, 'history.json'), `${JSON.stringify(index, null, 1)}\n`, 0o600);
    this.#index = index;
  }

  #textPath(number: number): string {
    return join(this.directory, `${number}.yaml`);
  }
}

/** The index; what cannot be read is put aside, so that its texts are not lost. */
function readIndex(directory: string): { index: Index; damage: string } {
  const empty: Index = { version: 1, running: null, pending: null, revisions: [] };
  const path = join(directory, 'history.json');
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { index: empty, damage: '' };
    throw error;
  }
  const index = indexSchema.safeParse(parseJson(text));
  if (index.success && isConsistent(directory, index.data)) return { index: index.data, damage: '' };
  const aside = `${directory}.damaged-${Date.now()}`;
  makePrivateDirectory(aside);
  for (const name of readdirSync(directory)) {
    if (name !== 'lock') renameSync(join(directory, name), join(aside, name));
  }
  syncDirectory(directory);
  return { index: empty, damage: `the history of the configuration is damaged; it is put aside as ${aside}` };
}

function removeEmpty(directory: string): void {
  if (readdirSync(directory).some((name) => name !== 'lock')) return;
  rmSync(directory, { recursive: true, force: true });
  try {
    rmdirSync(dirname(directory));
  } catch {
    // Other configurations have their history there.
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Whether what the index needs to go back to is there. */
function isConsistent(directory: string, { running, pending, revisions }: Index): boolean {
  const texts = new Set(readdirSync(directory));
  const numbers = revisions.map(({ number }) => number);
  const ascending = numbers.every((number, at) => at === 0 || number > numbers[at - 1]!);
  const needed = [running, pending?.revision, pending?.previous].filter((number) => number != null);
  return ascending && needed.every((number) => numbers.includes(number) && texts.has(`${number}.yaml`));
}

function removeStrays(directory: string, { revisions }: Index): void {
  const known = new Set(revisions.map(({ number }) => `${number}.yaml`));
  for (const name of readdirSync(directory)) {
    const isStray = name.endsWith('.tmp') || (/^\d+\.yaml$/.test(name) && !known.has(name));
    if (isStray) rmSync(join(directory, name), { force: true });
  }
}
