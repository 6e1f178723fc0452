/**
 * The data plane's part that has to do with plugins: which run, what they are asked between bursts, and what follows when a
 * call of theirs does not return.
 *
 * ```
 *   too long in a hook of the packet's way       200 ms   the plugin is tripped; the packet at hand is dropped; the next one
 *   too long in configuring                      200 ms   the plan is refused; what ran before goes on. The same if a
 *                                                         plugin has asked for it in a message
 *   too long in loading                          700 ms   likewise
 *   too long in a message, a commit              200 ms   the plugin is tripped
 *   too long in a view, `export-`, `importState` 700 ms   the plugin is tripped, or begins without its former state
 * ```
 *
 * What cannot be interrupted - a plugin that sleeps, or is in a system call - ends with the data plane: its supervisor
 * hears nothing from it for a second (`control/runtime/supervisor.ts`).
 *
 * Neighbours: `data-plane.ts` (the loop), `plugin-instances.ts`, `plugin-desk.ts`, `device/native/watchdog.c`.
 */
import { startWatchdog } from '../device/native.ts';
import type { FlowMemory } from '../flow/flow-memory.ts';
import type { Assembly } from '../pipeline/assembly.ts';
import type { Plan } from '../pipeline/plan.ts';
import { markUnseen } from '../pipeline/plugin-bits.ts';
import type { LoadedPlugin, PluginFailure } from '../pipeline/plugin-link.ts';
import { VERDICT_NAMES } from '../plugin/contract.ts';
import { CAUSE_EXCEPTION, CAUSE_MEMORY, CAUSE_TIMEOUT } from '../plugin/failure-numbers.ts';
import {
  HOOK_BETWEEN,
  HOOK_CONFIGURE,
  HOOK_MESSAGE,
  HOOK_SLOW,
  hookName,
  NO_PLACE,
  RunningPlugin,
  runningHook,
  runningPlace,
} from '../plugin/running-plugin.ts';
import { PATIENCE } from '../tunnel/patience.ts';
import { BuiltIns, confine } from './confinement.ts';
import { HeapWatch } from './heap-watch.ts';
import type { ControlMessage } from './messages.ts';
import { PluginCalls } from './plugin-calls.ts';
import { type ControlPeer, PluginDesk, type PluginLog } from './plugin-desk.ts';
import { parsePluginFaults } from './plugin-faults.ts';
import { PluginInstances, type PreparedPlugins } from './plugin-instances.ts';
import type {
  PluginDecideMessage,
  PluginMessage,
  PluginQueryRequest,
  PluginStatus,
} from './plugin-messages.ts';
import { leavePluginStates, takePluginStates } from './plugin-state-file.ts';
import { topologyOf } from './plugin-topology.ts';

const LIMIT_MS = 200 * PATIENCE;
const SLOW_LIMIT_MS = 700 * PATIENCE;
/** Judging live flows anew takes so long between two bursts. */
const REEVALUATION_MS = 2;

/** What the plugins' side stands on. */
export interface PluginSurroundings {
  readonly control: ControlPeer;
  readonly runtimeDirectory: string;
  /** `HOMEWARD_PLUGIN_FAULTS`. */
  readonly faults: string | undefined;
  nowMs(): number;
  readonly log: PluginLog;
}

/** What is to be done with what control had asked for, when a plugin's call was ended in it. */
export type AfterInterrupt = 'done' | 'again' | 'refuse';

export class PluginSide {
  /** What the last interrupt has ended: a sentence. */
  lastEnded = '';
  private readonly surroundings: PluginSurroundings;
  private readonly calls = new PluginCalls(new RunningPlugin(new Int32Array(1), new Int32Array(1)));
  private readonly desk: PluginDesk;
  private readonly instances: PluginInstances;
  private readonly heap: HeapWatch;
  private prepared: PreparedPlugins | undefined;
  /** Why plugins were tripped while a plan was taken that comes again, by name: it makes new instances of them. */
  private readonly tripped = new Map<string, string>();
  /** One after the other. */
  private readonly reevaluations: ReturnType<Assembly['reevaluation']>[] = [];

  /** @throws Error if `faults` cannot be read */
  constructor(surroundings: PluginSurroundings) {
    this.surroundings = surroundings;
    this.heap = new HeapWatch(surroundings.nowMs());
    this.desk = new PluginDesk(surroundings.control, this.calls, surroundings.log);
    this.instances = new PluginInstances(
      {
        nowMs: () => surroundings.nowMs(),
        log: (plugin, level, text, topic) => {
          // What is half said when its call is ended would cut control off.
          const { running } = this.calls;
          running.enterHost();
          surroundings.log(plugin, level, text, {}, topic);
          running.leaveHost();
        },
        send: (plugin, body) => this.desk.take(plugin, body),
      },
      this.calls,
      parsePluginFaults(surroundings.faults),
      takePluginStates(surroundings.runtimeDirectory),
    );
  }

  /** Plugins are kept from what all of this process shares, for its whole life. */
  confine(): void {
    confine(() => this.calls.running.word[0] !== 0);
    this.calls.builtIns = new BuiltIns();
  }

  /** Calls are written down in this memory from now on, and watched. */
  useMemory(memory: FlowMemory): RunningPlugin {
    const running = new RunningPlugin(memory.runningPlugin, memory.accusedPlugin);
    this.calls.running = running;
    startWatchdog(running.word, running.accused, LIMIT_MS, SLOW_LIMIT_MS);
    return running;
  }

  /**
   * Prepares the plugins of a plan; what ran before goes on.
   *
   * @throws Error that names the plugin and what is wrong with it
   */
  prepare(plan: Plan): readonly LoadedPlugin[] {
    this.prepared = this.instances.prepare(plan.plugins, topologyOf(plan));
    for (const { name, standing } of this.prepared.instances) {
      const message = this.tripped.get(name);
      if (message !== undefined && !standing.isTripped) standing.tripFor(CAUSE_TIMEOUT, message);
    }
    return this.prepared.plugins;
  }

  /** The pipeline has taken the plan. */
  commit({ chain, state, pipeline }: Assembly): void {
    const { prepared } = this;
    this.tripped.clear();
    this.heap.begun();
    if (prepared === undefined) return;
    for (const instance of prepared.strangers)
      markUnseen(state.table, pipeline.streams, chain, prepared.instances.indexOf(instance));
    this.instances.commit(prepared, (place, error) =>
      chain.trip(
        place,
        CAUSE_EXCEPTION,
        `its configuration was not put into force: ${(error as Error).message}`,
      ),
    );
    this.prepared = undefined;
  }

  /** The plan that was being taken is refused: what ran before goes on, or nothing does. */
  refused(): void {
    this.tripped.clear();
    this.prepared = undefined;
  }

  /** A plugin has failed in the pipeline. */
  failed(plugin: LoadedPlugin, failure: PluginFailure): void {
    this.desk.failed(plugin, failure, this.surroundings.nowMs());
  }

  /** Every live flow is judged anew, from now on; `reevaluated` says when that is done. */
  reevaluate(assembly: Assembly | undefined): void {
    if (assembly === undefined) {
      this.surroundings.control.send({ type: 'reevaluated', flows: 0, ended: 0 });
      return;
    }
    this.reevaluations.push(assembly.reevaluation());
  }

  /** Whether there is something to do between bursts. */
  get isBusy(): boolean {
    return this.desk.isWaiting || this.reevaluations.length > 0;
  }

  /** Whether it is so much that the loop had better not wait for packets. */
  get isInHaste(): boolean {
    return this.reevaluations.length > 0;
  }

  /** Does it. */
  work(): void {
    this.desk.flush();
    const [first] = this.reevaluations;
    if (first === undefined || !first.step(this.surroundings.nowMs(), REEVALUATION_MS)) return;
    this.reevaluations.shift();
    const { flows, ended } = first.run;
    this.surroundings.control.send({ type: 'reevaluated', flows, ended });
  }

  deliver(message: PluginMessage, assembly: Assembly | undefined): void {
    if (assembly !== undefined) this.desk.deliver(message, this.instances, assembly.chain);
  }

  answer(request: PluginQueryRequest, assembly: Assembly | undefined): void {
    this.desk.answer(request, this.instances, assembly?.chain);
  }

  /** A control half has decided on a flow that its data half holds. */
  decide({ plugin, holdToken, verdict, reason }: PluginDecideMessage, assembly: Assembly | undefined): void {
    const place = this.instances.all.findIndex(({ name }) => name === plugin);
    if (assembly === undefined || place < 0) return;
    this.instances.all[place]!.reason = reason;
    const number = VERDICT_NAMES.indexOf(verdict);
    assembly.pipeline.held.decide(place, holdToken, number, assembly.ports, this.surroundings.nowMs());
  }

  /** Housekeeping, now and then. */
  tick({ chain }: Assembly, nowMs: number): void {
    const blamed = this.heap.look(nowMs, (on) => {
      chain.meter.sampler = on ? this.heap : undefined;
      this.calls.sampler = on ? this.heap : undefined;
    });
    const instance = blamed === undefined ? undefined : this.instances.all[blamed.place];
    if (blamed === undefined || instance === undefined || instance.standing.isTripped) return;
    chain.trip(blamed.place, CAUSE_MEMORY, blamed.message);
    instance.release();
    chain.links[blamed.place]!.half = instance.half;
  }

  /** The data plane is about to end in order: what plugins leave is written down. */
  leaveStates(): void {
    const { runtimeDirectory, log } = this.surroundings;
    try {
      for (const name of leavePluginStates(runtimeDirectory, this.instances.export()))
        log(name, 'warn', 'its state is too large to be kept, and is lost');
    } catch (error) {
      for (const { name } of this.instances.all)
        log(name, 'error', `its state is lost: ${(error as Error).message}`);
    }
  }

  status({ counters, pipeline }: Assembly): PluginStatus[] {
    return this.instances.all.map((instance, place) =>
      this.desk.statusOf(instance, place, counters, pipeline.held.countOf(place)),
    );
  }

  /**
   * A call was ended by the watchdog.
   *
   * @param inBurst whether that was on a packet's way
   * @param handled what control had asked for, and was being done
   * @throws Error if it was no call of a plugin: then nobody knows what was left half done
   */
  recover(
    assembly: Assembly | undefined,
    inBurst: boolean,
    handled: ControlMessage | undefined,
  ): AfterInterrupt {
    const { running } = this.calls;
    const word = running.word[0]!;
    if (word === 0 || running.accused[0] !== word)
      throw new Error('a signal has interrupted the data plane outside of the calls of plugins');
    running.forgive();
    const place = runningPlace(word);
    const hook = runningHook(word);
    const limitMs = (hook & HOOK_SLOW) === 0 ? LIMIT_MS : SLOW_LIMIT_MS;
    if (place === NO_PLACE || hook === HOOK_CONFIGURE) {
      const why = `its ${hookName(hook)} did not return within ${limitMs} ms`;
      this.lastEnded = `plugin ${this.calls.name}: ${why}`;
      if (handled?.type === 'plugin-message') this.desk.refusedAnew(handled.plugin, why);
      return 'refuse';
    }
    const name = this.prepared?.instances[place]?.name;
    // What is prepared is called in its own place by the pipeline only; calls between bursts are for who runs already.
    if (handled?.type === 'plan' && name !== undefined && (hook & HOOK_BETWEEN) === 0)
      this.tripped.set(name, `its ${hookName(hook)} did not return within ${limitMs} ms`);
    if (assembly === undefined) return 'again';
    if (inBurst) assembly.pipeline.abandon(hook);
    assembly.chain.stalled(place, hook, limitMs);
    return hook === HOOK_MESSAGE ? 'done' : 'again';
  }
}
