/**
 * Which plugin is running: a word in the flow memory that is written around every call of a plugin, so that whoever
 * ends a call that stands still, or finds a data plane that has ended, can say where it was.
 *
 * ```
 *   31 ......... 16 15 ........ 8 7 .............. 0
 *  +---------------+-------------+------------------+
 *  | number of the | hook        | place in the     |   0: none
 *  | call          | (`HOOK_...`)| chain + 1        |
 *  +---------------+-------------+------------------+
 * ```
 *
 * The number tells one call from the next of the same hook. A second word, `accused`, is how the watchdog
 * (`device/native/watchdog.c`) interrupts a call without hitting what comes behind it:
 *
 * ```
 *  watchdog                                        the call
 *  the same word for too long
 *  accused = word
 *  waits a moment; still the same word?            returns: is somebody accused? then wait here, until ...
 *     no:  accused = 0 ............................ ... goes on
 *     yes: signal ................................. ... ends, wherever in the call it is
 * ```
 *
 * What a plugin calls of ours (its logger, messages) is not to be left half done. Meanwhile the word has another bit
 * ({@link HOST}): the watchdog still accuses, the time goes on, and the call is ended at the border, or behind it.
 *
 * ```
 *  accused, and the word has the bit               at the border, either way: is somebody accused?
 *     no signal; looked at again ................. the bit is taken away, and waits here, as above
 * ```
 *
 * Between the look at `accused` and the word's end lies one machine instruction. Should a signal come there
 * nevertheless, the word is 0 or another one, and the data plane ends itself instead of going on with half a packet.
 *
 * Neighbours: `flow/flow-memory.ts` (where they stand, and the plugins' names), `pipeline/plugin-meter.ts` and
 * `dataplane/plugin-calls.ts` (who write), `control/runtime/running-plugin.ts` (reads).
 */

export const HOOK_FLOW_SETUP = 0;
export const HOOK_PACKET = 1;
export const HOOK_INGRESS_CHANGED = 2;
export const HOOK_FLOW_END = 3;
export const HOOK_FLOW_START = 4;
export const HOOK_STREAM = 5;
/** In calls between bursts. */
export const HOOK_BETWEEN = 0x20;
/** In those of them that may take longer: they come seldom, and at somebody's wish. The watchdog knows this bit. */
export const HOOK_SLOW = 0x80;
export const HOOK_LOAD = 0xa0;
export const HOOK_CONFIGURE = 0x21;
export const HOOK_COMMIT = 0x22;
export const HOOK_MESSAGE = 0x23;
export const HOOK_QUERY = 0xa4;
export const HOOK_EXPORT = 0xa5;
export const HOOK_IMPORT = 0xa6;

/** The place of a plugin that is not in the chain yet. */
export const NO_PLACE = 0xfe;

/** Names by number, as in the contract. */
const HOOK_NAMES: Readonly<Record<number, string>> = {
  [HOOK_FLOW_SETUP]: 'flowSetup',
  [HOOK_PACKET]: 'packet',
  [HOOK_INGRESS_CHANGED]: 'ingressChanged',
  [HOOK_FLOW_END]: 'flowEnd',
  [HOOK_FLOW_START]: 'flowStart',
  [HOOK_STREAM]: 'stream',
  [HOOK_LOAD]: 'createDataHalf',
  [HOOK_CONFIGURE]: 'configure',
  [HOOK_COMMIT]: 'the commit of configure',
  [HOOK_MESSAGE]: 'message',
  [HOOK_QUERY]: 'query',
  [HOOK_EXPORT]: 'exportState',
  [HOOK_IMPORT]: 'importState',
};

const CALL = 0x10000;
/** In the word while the plugin is in code of ours. The watchdog knows this bit. */
const HOST = 0x4000;

/** The word while this hook of the plugin at this place of the chain runs, but for the number of the call. */
export function runningWord(plugin: number, hook: number): number {
  return (hook << 8) | (plugin + 1);
}

/** The place in the chain, -1 for none. */
export function runningPlace(word: number): number {
  return (word & 0xff) - 1;
}

/** One of `HOOK_...`. */
export function runningHook(word: number): number {
  return ((word & ~HOST) >>> 8) & 0xff;
}

/** Its name, as in the contract. */
export function hookName(hook: number): string {
  return HOOK_NAMES[hook] ?? 'unknown hook';
}

/** What a word says: the plugin by name, or by place where the names are not known; undefined for none. */
export function describeRunning(word: number, names: readonly string[] | undefined): string | undefined {
  if (word === 0) return undefined;
  const place = runningPlace(word);
  const hook = hookName(runningHook(word));
  if (place === NO_PLACE) return `a plugin that is being loaded (${hook})`;
  return `plugin ${names?.[place] ?? `number ${place + 1}`} (${hook})`;
}

/** Writes the word around calls. */
export class RunningPlugin {
  /** The word, of the flow memory. */
  readonly word: Int32Array;
  /** The watchdog's, likewise. */
  readonly accused: Int32Array;
  private call = 0;

  constructor(word: Int32Array, accused: Int32Array) {
    this.word = word;
    this.accused = accused;
    word[0] = 0;
    accused[0] = 0;
  }

  /** A hook of the plugin at this place is about to be called. */
  enter(plugin: number, hook: number): void {
    this.call = (this.call + CALL) | 0;
    this.word[0] = this.call | (hook << 8) | (plugin + 1);
  }

  /** It has returned or thrown. */
  leave(): void {
    if (this.accused[0] !== 0) this.wait();
    this.word[0] = 0;
  }

  /**
   * The plugin that runs has called code of ours, which is not ended before {@link leaveHost}. It may not throw, nor take
   * long; called by nobody's plugin, this does nothing.
   */
  enterHost(): void {
    const { word } = this;
    if (word[0] === 0) return;
    word[0] |= HOST;
    while (this.accused[0] !== 0) {
      word[0] &= ~HOST;
      this.wait();
      word[0] |= HOST;
    }
  }

  /** It returns to the plugin. */
  leaveHost(): void {
    this.word[0] &= ~HOST;
    if (this.accused[0] !== 0) this.wait();
  }

  /** The watchdog has ended a call: nobody runs, nobody is accused. */
  forgive(): void {
    this.word[0] = 0;
    this.accused[0] = 0;
  }

  /** Too late: the watchdog is about to end this call. It does so here, or says that it does not. */
  private wait(): void {
    while (Atomics.load(this.accused, 0) !== 0);
  }
}
