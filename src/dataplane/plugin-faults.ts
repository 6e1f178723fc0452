/**
 * Plugins that fail on purpose, to see what becomes of packets then: `HOMEWARD_PLUGIN_FAULTS` in the environment of the
 * data plane, `NAME:CAUSE[:EVERY]` for each plugin, separated by commas. Every so many calls of the plugin's `flowSetup` and
 * `packet` (each, unless said otherwise) fail by that cause. docs/plugins.md describes it.
 *
 * The failures are real ones: what is thrown comes from an allocation that cannot be, what stands still stands still.
 *
 * Neighbours: `plugin-instance.ts` (wraps the half of a plugin that is named).
 */
import {
  type DataHalf,
  PACKET_MIDSTREAM,
  PACKET_UNPARSABLE,
  VERDICT_HOLD,
  VERDICT_UNPARSABLE,
} from '../plugin/contract.ts';

export const FAULT_CAUSES = [
  'exception',
  'timeout',
  'memory',
  'midstream',
  'unparsable',
  'stall',
  'leak',
  'leak-buffers',
] as const;
export type FaultCause = (typeof FAULT_CAUSES)[number];

export interface PluginFault {
  readonly cause: FaultCause;
  readonly every: number;
}

/** How long a flow is held for a decision that never comes, milliseconds. */
const TIMEOUT_MS = 50;
/** What every call keeps that leaks, numbers. */
const LEAKED_NUMBERS = 4 * 1024;
/** As much outside of the heap, bytes. */
const LEAKED_BYTES = 32 * 1024;
const IMPOSSIBLE_BYTES = 2 ** 52;

/**
 * Reads the variable; undefined or empty: nobody fails.
 *
 * @throws Error that says what is wrong with it
 */
export function parsePluginFaults(text: string | undefined): ReadonlyMap<string, PluginFault> {
  const faults = new Map<string, PluginFault>();
  for (const part of (text ?? '').split(',').filter((entry) => entry.trim() !== '')) {
    const [name = '', cause = '', every = '1', ...rest] = part.trim().split(':');
    const known = FAULT_CAUSES.find((candidate) => candidate === cause);
    if (name === '' || known === undefined || rest.length > 0 || !/^[1-9]\d{0,8}$/.test(every)) {
      throw new Error(
        `HOMEWARD_PLUGIN_FAULTS: ${part.trim()} is not NAME:CAUSE[:EVERY]; CAUSE is one of ${FAULT_CAUSES.join(', ')}`,
      );
    }
    faults.set(name, { cause: known, every: Number(every) });
  }
  return faults;
}

/** The same half, but for the calls that fail. */
export function withFault(half: DataHalf, { cause, every }: PluginFault): DataHalf {
  let calls = 0;
  const kept: (number[] | Uint8Array)[] = [];
  const isDue = (): boolean => ++calls % every === 0;
  const fail = (): void => {
    switch (cause) {
      case 'exception':
        throw new Error('fails on purpose');
      case 'memory':
        new ArrayBuffer(IMPOSSIBLE_BYTES);
        break;
      case 'leak':
        kept.push(Array.from({ length: LEAKED_NUMBERS }, (_, at) => at + 0.5));
        break;
      case 'leak-buffers':
        kept.push(new Uint8Array(LEAKED_BYTES));
        break;
      case 'stall':
        // Not to be stopped by anything in here.
        for (;;) {
          try {
            for (;;) calls++;
          } catch {}
        }
      default:
    }
  };
  const bound = bindHooks(half);
  return {
    ...bound,
    flowSetup(packet, flow) {
      const verdict = half.flowSetup(packet, flow);
      // Of these there is nothing to see in flowSetup alone.
      if (cause === 'midstream') flow.wantsPackets = true;
      if (flow.hypothetical || cause === 'midstream' || !isDue()) return verdict;
      if (cause === 'unparsable') return VERDICT_UNPARSABLE;
      if (cause === 'timeout') {
        flow.holdMs = TIMEOUT_MS;
        return VERDICT_HOLD;
      }
      fail();
      return verdict;
    },
    packet(packet, flow) {
      const answer = half.packet === undefined ? 0 : half.packet(packet, flow);
      if (cause === 'timeout' || !isDue()) return answer;
      if (cause === 'unparsable') return PACKET_UNPARSABLE;
      if (cause === 'midstream') return PACKET_MIDSTREAM;
      fail();
      return answer;
    },
  };
}

/** The hooks of a half as functions of their own: it may be an object of a class, which `...` would lose. */
function bindHooks(half: DataHalf): DataHalf {
  const bound: Record<string, unknown> = {};
  for (const name of HOOKS) {
    const hook = half[name] as unknown;
    if (typeof hook === 'function') bound[name] = hook.bind(half);
  }
  return bound as unknown as DataHalf;
}

const HOOKS = [
  'configure',
  'flowSetup',
  'flowStart',
  'packet',
  'stream',
  'ingressChanged',
  'flowEnd',
  'message',
  'query',
  'exportState',
  'importState',
] as const satisfies readonly (keyof DataHalf)[];
