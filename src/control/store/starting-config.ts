/**
 * Which configuration a start runs: the file's, or one of the history's.
 *
 * ```
 *  a change waits for its confirmation
 *    the file has another text        the wait is void: somebody has decided by hand  ---> the file
 *    its time is over                 ---> the revision before it                    (`expired`)
 *    its time is not over             ---> the file, and the wait goes on
 *  the file is broken
 *    `strict`, or no history          ---> refused
 *    else                             ---> the last revision that was not only tried (`last_good`)
 *  else                               ---> the file
 * ```
 *
 * The state directory may be named in the very file that is broken: it is looked for in there all the same.
 *
 * Neighbours: `history.ts`, `configuration.ts` (what becomes of it), `../daemon.ts`.
 */
import { join } from 'node:path';
import { parseDocument } from 'yaml';
import { ConfigError } from '../config/errors.ts';
import { type LoadedConfig, type ReadOptions, readConfig } from '../config/load.ts';
import { readConfigText } from '../config/source.ts';
import { KeptPlugins } from '../plugins/kept-plugins.ts';
import type { Logger } from '../runtime/logger.ts';
import { History } from './history.ts';
import { historyDirectory } from './state-directory.ts';

export interface StartingConfig {
  readonly loaded: LoadedConfig;
  /** Where it is from: the file, the revision before one that nobody confirmed, or the last good one. */
  readonly from: 'file' | 'expired' | 'last_good';
  /** undefined: none can be kept; `problems` says why. */
  readonly history: History | undefined;
  /** What the user must know for as long as it is so. */
  readonly problems: readonly string[];
  /** Copies of the plugins. */
  readonly kept: KeptPlugins;
}

export interface StartOptions extends ReadOptions {
  /** Refuse a broken file instead of running the last good revision. */
  readonly strict?: boolean | undefined;
  readonly environment?: NodeJS.ProcessEnv | undefined;
}

/**
 * Chooses. The caller closes the history.
 *
 * @throws ConfigError if the file is broken and nothing may stand in for it; HistoryInUseError.
 */
export function chooseConfig(path: string, logger: Logger, given: StartOptions = {}): StartingConfig {
  let text = '';
  let broken: ConfigError | undefined;
  let loaded: LoadedConfig | undefined;
  try {
    text = readConfigText(path);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    broken = error;
  }
  const directory = historyDirectory(path, stateDirIn(text), given.environment);
  const kept = new KeptPlugins(join(directory, 'plugins'));
  const options = { ...given, kept: { plugins: kept, reading: { why: 'start' as const } } };
  try {
    if (broken === undefined) loaded = readConfig(text, path, options);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    broken = error;
  }
  const { history, problems } = openHistory(directory, logger);
  try {
    const expired =
      history === undefined
        ? undefined
        : settlePending(history, text, path, logger, {
            ...options,
            kept: { plugins: kept, reading: { why: 'undo' } },
          });
    if (expired !== undefined) return { loaded: expired, from: 'expired', history, problems, kept };
    if (loaded !== undefined) return { loaded, from: 'file', history, problems, kept };
    const good = options.strict || history === undefined ? undefined : lastGood(history, options);
    if (good === undefined) throw broken!;
    const lines = [
      `${path} is broken: revision ${good.number} of ${good.time} runs instead; put the file right and apply it`,
      ...broken!.message.split('\n'),
    ];
    for (const line of lines) logger.error(line);
    return { loaded: good.loaded, from: 'last_good', history, problems: [...problems, ...lines], kept };
  } catch (error) {
    history?.close();
    throw error;
  }
}

/**
 * What to start instead of a configuration that waits for its confirmation and does not start; undefined if nothing
 * is waited for.
 */
export function previousOf(starting: StartingConfig): StartingConfig | undefined {
  const { history, loaded } = starting;
  if (starting.from !== 'file' || history === undefined || history.pending === null) return undefined;
  const text = history.text(history.pending.previous);
  const kept = { plugins: starting.kept, reading: { why: 'undo' as const } };
  return { ...starting, loaded: readConfig(text, loaded.config.source.file, { kept }), from: 'expired' };
}

/** A gateway without a history is better than none. */
function openHistory(
  directory: string,
  logger: Logger,
): { history: History | undefined; problems: readonly string[] } {
  try {
    const history = History.open(directory);
    if (history.damage !== '') logger.error(history.damage);
    return { history, problems: history.damage === '' ? [] : [history.damage] };
  } catch (error) {
    if ((error as { code?: unknown }).code === 'history_in_use') throw error;
    const problem = `no history of the configuration is kept in ${directory}, and none can be applied: ${(error as Error).message}`;
    logger.error(problem);
    return { history: undefined, problems: [problem] };
  }
}

/** The configuration to go back to, if a change was not confirmed in time. */
function settlePending(
  history: History,
  text: string,
  path: string,
  logger: Logger,
  options: ReadOptions,
): LoadedConfig | undefined {
  const { pending } = history;
  if (pending === null) return undefined;
  if (history.text(pending.revision) !== text) {
    logger.warn(
      { revision: pending.revision },
      'the configuration file was changed while a revision waited for its confirmation: it waits no more',
    );
    history.abandon();
    return undefined;
  }
  if (pending.deadline > Date.now()) return undefined;
  return readConfig(history.text(pending.previous), path, options);
}

function lastGood(
  history: History,
  options: ReadOptions,
): { readonly loaded: LoadedConfig; readonly number: number; readonly time: string } | undefined {
  const number = history.lastGood;
  if (number === null) return undefined;
  try {
    return {
      loaded: readConfig(history.text(number), `revision ${number}`, options),
      number,
      time: history.find(number)?.time ?? '',
    };
  } catch (error) {
    // Written for another version of homeward.
    if (error instanceof ConfigError) return undefined;
    throw error;
  }
}

/** `gateway.state_dir` of a text that is wrong somewhere, perhaps there. */
function stateDirIn(text: string): string | null {
  const document = parseDocument(text, { schema: 'core', prettyErrors: false, logLevel: 'silent' });
  const found: unknown = document.getIn(['gateway', 'state_dir']);
  return typeof found === 'string' && found.startsWith('/') ? found : null;
}
