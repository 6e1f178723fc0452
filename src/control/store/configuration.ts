/**
 * The configuration of a gateway that runs: applied, confirmed, rolled back, compared, edited; with its history and
 * its file kept in step.
 *
 * ```
 *  apply:  text -> checked -> file staged -> gateway (live) -> history -> file in place
 *                    |            |              |               |
 *                    +-- refused -+---- nothing has changed -----+-- failed: the former one runs again
 *
 *  not confirmed in time: the same with the text of the revision before, again and again until it works
 * ```
 *
 * What settles a wait puts the file in place before the history: after a crash in between, the file has another text
 * than what waits, so that nobody takes the unconfirmed one for settled. A file that cannot be put in place in the end
 * undoes nothing that runs; it is a problem that is told.
 *
 * Where the history cannot be written and going back fails, too, the new configuration runs and is in no revision: a
 * problem says so, until a change that works.
 *
 * Neighbours: `configuration-file.ts`, `history.ts`, `confirmation-wait.ts`, `starting-config.ts`, `start-record.ts`,
 * `../gateway.ts` (what runs), `api/routes/config.ts`.
 */
import { dirname } from 'node:path';
import { ConfigError, formatProblem } from '../config/errors.ts';
import { type LoadedConfig, readConfig } from '../config/load.ts';
import type { ControlEvents } from '../events.ts';
import type { PlanEffect, Reevaluation } from '../live-change.ts';
import { readAnew } from '../plugins/files.ts';
import type { KeptPlugins, Reading } from '../plugins/kept-plugins.ts';
import { RequestError } from '../request-error.ts';
import type { Logger } from '../runtime/logger.ts';
import { findNamed } from '../unknown-name.ts';
import { type Applied, type ChangeRequest, type ConfigurationView, withoutRevision } from './change.ts';
import { ConfigurationFile } from './configuration-file.ts';
import { ConfirmationWait } from './confirmation-wait.ts';
import { type Difference, difference, summaryOf } from './difference.ts';
import type { History, NewRevision, Revision } from './history.ts';
import { recordStart } from './start-record.ts';
import type { StartingConfig } from './starting-config.ts';

/** What runs the configuration: `Gateway`. */
export interface RunningGateway {
  /** @param readAnew names of plugins whose files are read anew */
  apply(config: LoadedConfig['config'], readAnew?: readonly string[]): Promise<PlanEffect>;
  preview(config: LoadedConfig['config']): Promise<PlanEffect>;
  /** Judges all live flows anew. */
  reevaluate(): Promise<Reevaluation>;
  readonly events: ControlEvents;
}

export class Configuration {
  readonly #file: ConfigurationFile;
  readonly #logger: Logger;
  readonly #gateway: RunningGateway;
  readonly #history: History | undefined;
  readonly #plugins: KeptPlugins;
  #running: LoadedConfig;
  #startProblems: readonly string[];
  readonly #wait: ConfirmationWait;
  /** Why what runs is in no revision; empty if it is in one. */
  #unrecorded = '';
  #work: Promise<unknown> = Promise.resolve();
  #closed = false;

  /**
   * Takes over after a start: what was started becomes the newest revision unless it is that already.
   *
   * @param starting its history is this object's from now on.
   */
  constructor(path: string, starting: StartingConfig, gateway: RunningGateway, logger: Logger) {
    this.#file = new ConfigurationFile(path, logger);
    this.#logger = logger;
    this.#gateway = gateway;
    this.#history = starting.history;
    this.#plugins = starting.kept;
    this.#running = starting.loaded;
    this.#startProblems = [...starting.problems, ...recordStart(path, starting, logger)];
    this.#wait = new ConfirmationWait(this.#history, () => void this.#revert());
    this.#settlePlugins();
  }

  /** Where the history lies; null: there is none. */
  get directory(): string | null {
    return this.#history?.directory ?? null;
  }

  /** What the user must know, one line each. */
  get problems(): readonly string[] {
    return [...this.#startProblems, this.#wait.problem, this.#unrecorded].filter((problem) => problem !== '');
  }

  /** What waits for its confirmation, as a line for people; null: nothing does. */
  get pendingNotice(): string | null {
    const { pending } = this.#wait;
    if (pending === null) return null;
    const { revision, previous, deadline } = pending;
    if (this.#unrecorded !== '') {
      return `revision ${revision} of the configuration was to be confirmed, and does not run any more; revision ${previous} runs from ${deadline} on`;
    }
    return `revision ${revision} of the configuration waits for its confirmation (homeward config confirm); without it revision ${previous} runs again from ${deadline} on`;
  }

  /** Takes no more changes; resolves when those under way are done. A pending confirmation stays pending. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#wait.stop();
    await this.#work;
    this.#history?.close();
  }

  show(): ConfigurationView {
    const running = this.#unrecorded === '' ? (this.#history?.running ?? null) : null;
    return {
      path: this.#file.path,
      text: this.#running.text,
      revision: running === null ? null : (this.#history?.find(running) ?? null),
      file: this.#file.state(this.#running.text),
      pending: this.#wait.pending,
    };
  }

  /** Newest first. */
  revisions(): readonly Revision[] {
    return [...this.#requiredHistory().revisions].reverse();
  }

  /** @throws RequestError if there is no such revision. */
  revision(number: number): Revision & { readonly text: string } {
    return { ...this.#revision(number), text: this.#requiredHistory().text(number) };
  }

  /**
   * Compares. `from` and `to` are numbers of revisions; `from` undefined: what runs.
   *
   * @throws RequestError, ConfigError
   */
  async diff(
    from: number | undefined,
    to: number | { readonly text: string; readonly file?: string | undefined },
  ): Promise<Difference> {
    const before = from === undefined ? this.#running : this.#load(from);
    const after = typeof to === 'number' ? this.#load(to) : this.#read(to.text, to.file);
    if (from !== undefined) return difference(before, after, null);
    try {
      return difference(before, after, await this.#gateway.preview(after.config));
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      return { ...difference(before, after, null), refusal: error.message };
    }
  }

  /**
   * Runs another configuration.
   *
   * @throws ConfigError, RequestError, and whatever {@link RunningGateway.apply} throws: nothing has changed then.
   */
  apply(text: string, request: ChangeRequest): Promise<Applied> {
    return this.#inTurn(() => this.#apply(this.#read(text), request, 'applied'));
  }

  /**
   * Runs what `edit` makes of the text that runs.
   *
   * @throws as {@link apply}; RequestError if the file has changes that do not run: they would be lost.
   */
  edit(edit: (text: string) => string, request: ChangeRequest): Promise<Applied> {
    return this.#inTurn(() => {
      if (this.#file.state(this.#running.text) === 'differs') {
        throw new RequestError(
          'conflict',
          'file_differs',
          `${this.#file.path} was changed and not applied; apply it first (homeward config apply ${this.#file.path}), or put the running text back (homeward config show)`,
        );
      }
      return this.#apply(this.#read(edit(this.#running.text)), request, 'applied');
    });
  }

  /**
   * Runs what runs, with the files of a plugin read anew: manifest, modules, and what its options name. No revision is
   * made, as the configuration stays the same.
   *
   * @throws ConfigError if the manifest or the options are wrong now, RequestError, and whatever
   * {@link RunningGateway.apply} throws: the plugin runs on as it is then.
   */
  reloadPlugin(name: string, request: Pick<ChangeRequest, 'validateOnly' | 'reevaluate'>): Promise<Applied> {
    return this.#inTurn(async () => {
      const former = this.#running;
      const { manifestPath, enabled } = findNamed('plugin', name, former.config.plugins);
      if (!enabled) {
        throw new RequestError(
          'conflict',
          'plugin_disabled',
          `${name} is disabled; its files are read anew when it is enabled (homeward plugins enable ${name})`,
        );
      }
      readAnew(dirname(manifestPath));
      this.#plugins.beginChange(false);
      const next = this.#read(former.text, undefined, { why: 'reload', plugin: name });
      const { validateOnly = false } = request;
      const effect = await (validateOnly
        ? this.#gateway.preview(next.config)
        : this.#gateway.apply(next.config, [name]));
      if (!validateOnly) {
        this.#running = next;
        this.#logger.info({ plugin: name }, 'plugin read anew');
      }
      return withoutRevision(difference(former, next, effect), {
        applied: !validateOnly,
        notices: noticesOf(former, next, undefined),
        reevaluated: validateOnly ? null : await this.#reevaluate(request.reevaluate),
      });
    });
  }

  /**
   * Runs an earlier revision again, as a new one. A pending confirmation is settled by that.
   *
   * @throws as {@link apply}.
   */
  rollback(number: number, request: ChangeRequest): Promise<Applied> {
    return this.#inTurn(() => {
      const comment = request.comment === '' ? `back to revision ${number}` : request.comment;
      const why = this.#history?.pending?.previous === number ? 'undo' : 'change';
      return this.#apply(this.#load(number, why), { ...request, comment }, 'rolled_back');
    });
  }

  /**
   * Keeps what waits for its confirmation.
   *
   * @throws RequestError if nothing does.
   */
  confirm(validateOnly = false): Promise<Revision> {
    return this.#inTurn(async () => {
      const history = this.#requiredHistory();
      const { pending } = history;
      if (pending === null) {
        throw new RequestError('conflict', 'nothing_pending', 'no change waits for its confirmation');
      }
      if (this.#unrecorded !== '') {
        throw new RequestError(
          'conflict',
          'pending_not_running',
          `revision ${pending.revision} cannot be confirmed, as it does not run: ${this.#unrecorded}`,
        );
      }
      if (!validateOnly) {
        history.confirm();
        this.#wait.arm();
        this.#logger.info({ revision: pending.revision }, 'configuration confirmed');
      }
      return this.#revision(pending.revision);
    });
  }

  async #apply(next: LoadedConfig, request: ChangeRequest, cause: Revision['cause']): Promise<Applied> {
    const history = this.#requiredHistory();
    if (cause === 'applied' && history.pending !== null) {
      throw new RequestError(
        'conflict',
        'confirm_pending',
        `revision ${history.pending.revision} waits for its confirmation; confirm it (homeward config confirm) or go back (homeward config rollback ${history.pending.previous}) first`,
      );
    }
    const former = this.#running;
    this.#plugins.beginChange(request.confirmMs !== undefined && !request.validateOnly);
    if (request.validateOnly) {
      const effect = await this.#gateway.preview(next.config);
      return withoutRevision(difference(former, next, effect), {
        notices: noticesOf(former, next, request.file),
      });
    }
    if (next.text === former.text && history.pending === null && this.#unrecorded === '') {
      return await this.#applyAgain(next, request.reevaluate);
    }
    const unapplied = this.#file.keepUnapplied(history.directory, [former.text, next.text]);
    const file = this.#file.stage(next.text);
    const settles = history.pending !== null;
    let fileProblem: string | undefined;
    let revision: Revision;
    let done: Difference;
    try {
      done = difference(former, next, await this.#gateway.apply(next.config));
      if (settles) fileProblem = this.#file.put(file);
      revision = await this.#record(former, next, {
        cause,
        by: request.by,
        comment: request.comment,
        summary: summaryOf(done),
        confirmMs: request.confirmMs,
      });
    } catch (error) {
      file.discard();
      if (fileProblem === '') this.#file.restore(former.text);
      throw error;
    }
    fileProblem ??= this.#file.put(file);
    this.#running = next;
    this.#startProblems = [history.damage, fileProblem].filter((problem) => problem !== '');
    this.#unrecorded = '';
    this.#wait.arm();
    this.#logger.info(
      { revision: revision.number, by: revision.by, changes: done.changes.length },
      'configuration applied',
    );
    this.#gateway.events.publish({
      type: 'config_applied',
      revision: revision.number,
      summary: summaryOf(done).join('\n'),
    });
    return {
      applied: true,
      revision,
      difference: done,
      pending: this.#wait.pending,
      notices: noticesOf(former, next, request.file),
      unapplied,
      reevaluated: await this.#reevaluate(request.reevaluate),
    };
  }

  #read(text: string, file = this.#file.path, reading: Reading = { why: 'change' }): LoadedConfig {
    return readConfig(text, file, { kept: { plugins: this.#plugins, reading } });
  }

  /** The change has been made, whatever comes of this. */
  async #reevaluate(wanted = false): Promise<Reevaluation | null> {
    if (!wanted) return null;
    try {
      return await this.#gateway.reevaluate();
    } catch (error) {
      const why = `the change was made, but live flows were not judged anew: ${(error as Error).message}`;
      throw new RequestError('unavailable', 'not_reevaluated', why);
    }
  }

  /** What runs already makes no revision. Files that it names are looked at again, and it is put back into its own. */
  async #applyAgain(loaded: LoadedConfig, reevaluate: boolean | undefined): Promise<Applied> {
    const effect = await this.#gateway.apply(loaded.config);
    let unapplied: string | null = null;
    if (this.#file.state(loaded.text) !== 'same') {
      unapplied = this.#file.keepUnapplied(this.#requiredHistory().directory, [loaded.text]);
      const fileProblem = this.#file.put(this.#file.stage(loaded.text));
      this.#startProblems = [this.#requiredHistory().damage, fileProblem].filter((problem) => problem !== '');
    }
    this.#logger.info('the configuration that runs was applied again: nothing has changed');
    const reevaluated = await this.#reevaluate(reevaluate);
    return withoutRevision(difference(loaded, loaded, effect), { unapplied, reevaluated });
  }

  /** Writes the history; if that fails, the gateway goes back, too. */
  async #record(
    former: LoadedConfig,
    next: LoadedConfig,
    { confirmMs, ...revision }: NewRevision & { readonly confirmMs: number | undefined },
  ): Promise<Revision> {
    try {
      return this.#requiredHistory().add(next.text, revision, confirmMs);
    } catch (error) {
      const why = `the history cannot be written: ${(error as Error).message}`;
      await this.#goBack(former, next, why);
      throw new RequestError('unavailable', 'history_unwritable', `nothing was changed, as ${why}`);
    }
  }

  /** @throws RequestError if that fails: `next` runs then, and nothing but the problem says so. */
  async #goBack(former: LoadedConfig, next: LoadedConfig, why: string): Promise<void> {
    try {
      await this.#gateway.apply(former.config);
    } catch (error) {
      this.#running = next;
      this.#unrecorded = `what runs is in no revision, and the next start does not run it: ${why}; and going back failed: ${(error as Error).message}. Apply a configuration again, or roll back`;
      this.#logger.error(this.#unrecorded);
      throw new RequestError('unavailable', 'running_unrecorded', this.#unrecorded);
    }
  }

  async #revert(): Promise<void> {
    try {
      await this.#inTurn(async () => {
        const pending = this.#history?.pending;
        if (pending == null) return;
        this.#logger.error(
          { revision: pending.revision, previous: pending.previous },
          'the configuration was not confirmed in time: going back',
        );
        const comment = `revision ${pending.revision} was not confirmed`;
        await this.#apply(this.#load(pending.previous, 'undo'), { by: '', comment }, 'reverted');
      });
    } catch (error) {
      if (this.#closed) return;
      const problem = `the configuration was not confirmed, and going back fails: ${(error as Error).message}`;
      this.#logger.error(problem);
      this.#wait.failed(problem);
    }
  }

  #load(number: number, why: 'change' | 'undo' = 'change'): LoadedConfig {
    this.#revision(number);
    return this.#read(this.#requiredHistory().text(number), undefined, { why });
  }

  /** Copies of plugins that nobody goes back to any more are removed. */
  #settlePlugins(): void {
    try {
      this.#plugins.endChange((this.#history?.pending ?? null) !== null);
    } catch (error) {
      this.#logger.error(`copies of plugins cannot be removed: ${(error as Error).message}`);
    }
  }

  #revision(number: number): Revision {
    const revision = this.#requiredHistory().find(number);
    if (revision !== undefined) return revision;
    throw new RequestError('not_found', 'no_such_revision', `there is no revision ${number} in the history`);
  }

  #requiredHistory(): History {
    if (this.#history !== undefined) return this.#history;
    throw new RequestError('unavailable', 'no_history', this.#startProblems[0] ?? 'there is no history');
  }

  /** Runs a change behind those that are under way. */
  #inTurn<T>(change: () => Promise<T>): Promise<T> {
    const done = this.#work.then(async () => {
      if (this.#closed) throw new RequestError('unavailable', 'ending', 'the gateway is being stopped');
      try {
        return await change();
      } finally {
        this.#settlePlugins();
      }
    });
    this.#work = done.catch(() => {});
    return done;
  }
}

/**
 * What a change brings that is worth knowing: what was so before says nothing about it. With the name that whoever asks
 * knows the text by: what runs has the name of the gateway's own file.
 */
function noticesOf(former: LoadedConfig, { config }: LoadedConfig, file: string | undefined): string[] {
  const known = new Set(former.config.notices.map(({ text }) => text));
  const news = config.notices.filter(({ text }) => !known.has(text));
  return news.map((notice) => formatProblem(file === undefined ? notice : { ...notice, file }));
}
