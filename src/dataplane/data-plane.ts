/**
 * The data plane: I/O and pipeline in one loop, and what control asks of it.
 *
 * ```
 *  burst (send, wait, receive) ── every frame through the pipeline ── control's messages ── housekeeping
 *      ^                                                                                        |
 *      +----------------------------------------------------------------------------------------+
 * ```
 *
 * Nothing else runs in this process: no timer, no promise. It starts with no plan and forwards nothing until it
 * has one; a plan that cannot be used changes nothing. It never stops on its own account.
 */
import { uptime } from 'node:os';
import { NativeIo } from '../device/native-io.ts';
import {
  COUNTER,
  PORT_BYTES_IN,
  PORT_BYTES_OUT,
  PORT_FLOWS_LIVE,
  PORT_PACKETS_IN,
  PORT_PACKETS_OUT,
} from '../flow/counters.ts';
import { flowTest } from '../flow/flow-conditions.ts';
import type { FlowEventWriter } from '../flow/flow-event-writer.ts';
import type { FlowMemory } from '../flow/flow-memory.ts';
import { Assembly } from '../pipeline/assembly.ts';
import type { Pipeline } from '../pipeline/pipeline.ts';
import type { Plan, PlanPort } from '../pipeline/plan.ts';
import { DROP_REASON_NAMES } from '../plugin/drop-reasons.ts';
import { DESCRIPTOR_DEVICE, DESCRIPTOR_LENGTH, DESCRIPTOR_OFFSET, DESCRIPTOR_WORDS } from '../wire/frame.ts';
import { CaptureHost } from './capture-host.ts';
import { ControlSocket } from './control-socket.ts';
import { DeviceSet } from './device-set.ts';
import { divertedFlow } from './diversion-desk.ts';
import { openFlowEvents } from './flow-events-file.ts';
import { openFlowMemory } from './flow-memory-file.ts';
import { runInterruptible } from './interruptible.ts';
import { LogLimiter } from './log-limiter.ts';
import {
  type CaptureStartMessage,
  type ControlMessage,
  type DataPlaneArguments,
  type DataPlaneStatus,
  type ExplainedMessage,
  type ExplainRequest,
  type FlushedMessage,
  type FlushRequest,
  HEARTBEAT_INTERVAL_MS,
  type LogMessage,
  type PortStatus,
} from './messages.ts';
import { PluginSide } from './plugin-side.ts';
import { ProbeDesk } from './probe-desk.ts';
import { RUNNING_VERSION } from './version.ts';
import { Vitals } from './vitals.ts';

/** Housekeeping is done that often at most, and the loop never waits for longer. */
const TICK_MS = 20;

export class DataPlane {
  private readonly io: NativeIo;
  private readonly arguments: DataPlaneArguments;
  private readonly control: ControlSocket;
  private readonly devices: DeviceSet;
  private plan: Plan | undefined;
  private readonly plugins: PluginSide;
  private assembly: Assembly | undefined;
  private memory: FlowMemory | undefined;
  private running = true;
  private tickedMs: number;
  private heartbeatMs = 0;
  /** Frames of the burst at hand, and how many of them the pipeline has had: a plugin may be ended in between. */
  private received = 0;
  private taken = 0;
  /** What control has asked for and is being done. */
  private handling: ControlMessage | undefined;
  private readonly vitals: Vitals;
  private readonly captures = new CaptureHost();
  private readonly probes = new ProbeDesk((message) => this.control.send(message));
  private readonly logLimiter = new LogLimiter();
  private events: FlowEventWriter | undefined;
  /** What `events` was opened for, as text. */
  private eventsAsked = '';

  constructor(options: DataPlaneArguments) {
    this.arguments = options;
    this.io = new NativeIo();
    this.vitals = new Vitals(this.io);
    this.tickedMs = this.io.nowMs;
    this.devices = new DeviceSet(this.io, {
      onUp: (device) => {
        this.setPorts(device.index, true);
        this.log('info', `device ${device.name} is usable`, { device: device.name });
      },
      onDown: (device, why) => {
        this.setPorts(device.index, false);
        this.log('warn', `device ${device.name} is not usable: ${why}`, { device: device.name });
      },
    });
    this.control = new ControlSocket(
      this.io,
      options.socketPath,
      () => ({ type: 'ready', pid: process.pid, generation: this.plan?.generation ?? 0 }),
      (message) => {
        this.handling = message;
        this.handle(message);
        this.handling = undefined;
      },
    );
    this.plugins = new PluginSide({
      control: this.control,
      runtimeDirectory: options.runtimeDirectory,
      faults: process.env.HOMEWARD_PLUGIN_FAULTS,
      nowMs: () => this.io.nowMs,
      log: (plugin, level, text, fields, topic) => this.log(level, text, { plugin, ...fields }, topic),
    });
  }

  /** Runs until control says stop. */
  run(): void {
    this.plugins.confine();
    // What follows the end of a plugin's call runs plugins, too.
    let whole = runInterruptible(() => this.serve());
    while (!whole) {
      if (runInterruptible(() => this.recover())) whole = runInterruptible(() => this.serve());
    }
    this.io.burst(0);
    this.io.close();
  }

  /** May be ended in any call of a plugin, and goes on behind that when it is called again. */
  private serve(): void {
    const { io } = this;
    while (this.running) {
      const nowMs = io.nowMs;
      if (this.assembly !== undefined) this.takeBurst(this.assembly, nowMs);
      this.received = 0;
      if (io.readyCount > 0) this.control.serve();
      if (((nowMs - this.tickedMs) | 0) >= TICK_MS) this.tick(nowMs);
      if (this.plugins.isBusy) this.plugins.work();
      if (!this.running) return;
      this.received = io.burst(this.plugins.isInHaste ? 0 : TICK_MS);
      this.taken = 0;
      this.vitals.countBurst();
      // Everything of the burst before was sent, also what housekeeping built.
      this.assembly?.beginBurst();
    }
  }

  /** The watchdog has ended a call of a plugin. */
  private recover(): void {
    const message = this.handling;
    const next = this.plugins.recover(this.assembly, this.received > 0, message);
    if (message !== undefined && next === 'again') this.handle(message);
    if (message?.type === 'plan' && next === 'refuse') this.refusePlan(message.plan, this.plugins.lastEnded);
    this.handling = undefined;
  }

  /** Takes the frames of the burst at hand that have not been taken yet. */
  private takeBurst({ pipeline, tap }: Assembly, nowMs: number): void {
    const { io, received } = this;
    if (this.captures.isCold) this.captures.warmUp(tap, io.memory, received);
    if (tap.active !== 0) {
      this.receiveTapped(pipeline, received, nowMs);
    } else {
      const words = io.rx.words;
      for (let i = this.taken; i < received; i++) {
        const at = i * DESCRIPTOR_WORDS;
        this.taken = i + 1;
        pipeline.receive(
          words[at + DESCRIPTOR_OFFSET],
          words[at + DESCRIPTOR_LENGTH],
          words[at + DESCRIPTOR_DEVICE],
          nowMs,
        );
      }
    }
  }

  /** A burst's frames, while somebody captures. */
  private receiveTapped(pipeline: Pipeline, received: number, nowMs: number): void {
    const words = this.io.rx.words;
    this.captures.beforeBurst();
    for (let i = this.taken; i < received; i++) {
      const at = i * DESCRIPTOR_WORDS;
      this.taken = i + 1;
      pipeline.receiveTapped(
        words[at + DESCRIPTOR_OFFSET],
        words[at + DESCRIPTOR_LENGTH],
        words[at + DESCRIPTOR_DEVICE],
        nowMs,
      );
    }
  }

  private tick(nowMs: number): void {
    this.tickedMs = nowMs;
    this.devices.tick(nowMs);
    if (this.captures.isActive) this.captures.tick(nowMs);
    if (this.assembly !== undefined && this.memory !== undefined) {
      this.assembly.pipeline.tick(nowMs, Math.floor(uptime()));
      this.memory.lastAliveMs = nowMs;
      this.plugins.tick(this.assembly, nowMs);
      if (this.plan !== undefined) {
        this.vitals.tick(this.plan, this.assembly, nowMs);
      }
    }
    if (((nowMs - this.heartbeatMs) | 0) >= HEARTBEAT_INTERVAL_MS) {
      this.heartbeatMs = nowMs;
      this.control.send({ type: 'heartbeat' });
    }
  }

  private handle(message: ControlMessage): void {
    switch (message.type) {
      case 'plan':
        this.takePlan(message.plan);
        break;
      case 'stop':
        this.plugins.leaveStates();
        this.running = false;
        break;
      case 'status':
        this.control.send({ type: 'status', status: this.status() });
        break;
      case 'flush':
        this.control.send(this.flush(message));
        break;
      case 'explain':
        this.control.send(this.explain(message));
        break;
      case 'probe':
        this.control.send({
          type: 'probe-sent',
          id: message.id,
          error: this.probes.probe(message, this.assembly, this.plan, this.io.nowMs),
        });
        break;
      case 'neighbor': {
        const address = this.probes.neighbor(message.port, this.assembly, this.plan, this.io.nowMs);
        this.control.send({ type: 'neighbor', address });
        break;
      }
      case 'penalties':
        this.assembly?.penalise(new Map(Object.entries(message.penalties)));
        break;
      case 'strays':
        this.control.send(this.probes.strays(this.assembly, this.plan, this.io.nowMs));
        break;
      case 'capture-start':
        this.control.send({ type: 'capture-started', id: message.id, error: this.startCapture(message) });
        break;
      case 'capture-stop':
        this.captures.stop(message.id);
        break;
      case 'diverted':
        this.control.send({ type: 'diverted', flow: divertedFlow(message, this.assembly, this.plan) });
        break;
      case 'plugin-query':
        this.plugins.answer(message, this.assembly);
        break;
      case 'plugin-message':
        this.plugins.deliver(message, this.assembly);
        break;
      case 'reevaluate':
        this.plugins.reevaluate(this.assembly);
        break;
      case 'plugin-decide':
        this.plugins.decide(message, this.assembly);
        break;
    }
  }

  private takePlan(plan: Plan): void {
    const nowMs = this.io.nowMs;
    try {
      if (this.assembly === undefined) {
        this.memory = openFlowMemory(this.arguments.flowMemoryPath, plan, nowMs, (text) =>
          this.log('warn', text, {}),
        );
        // Before the plugins are loaded, whose calls are written down there.
        const running = this.plugins.useMemory(this.memory);
        const plugins = this.plugins.prepare(plan);
        this.openEvents(plan);
        this.assembly = new Assembly({
          frames: this.io,
          flowMemory: this.memory,
          plan,
          plugins,
          onPluginFailure: (plugin, failure) => this.plugins.failed(plugin, failure),
          running,
          random: () => crypto.getRandomValues(new Int32Array(1))[0],
          nowMs,
          events: this.events,
        });
        this.probes.attach(
          this.assembly,
          () => this.plan,
          (stray) => this.log('warn', 'a packet came by a tunnel where nothing expects it', { ...stray }),
        );
        const { restored, discarded } = this.assembly.state.table;
        this.log('info', `flow memory: ${restored} flows found, ${discarded} discarded`, {
          restored,
          discarded,
        });
      } else {
        const plugins = this.plugins.prepare(plan);
        this.openEvents(plan);
        this.assembly.apply(plan, plugins, nowMs);
      }
      this.assembly.setEvents(this.events);
      this.plan = plan;
    } catch (error) {
      this.refusePlan(plan, (error as Error).message);
      return;
    }
    this.plugins.commit(this.assembly);
    if (this.assembly.unplacedPorts > 0) {
      const ports = this.assembly.unplacedPorts;
      this.log('warn', `the flow memory has no room for ${ports} external ports; they are not used`, {
        ports,
      });
    }
    // Last: nothing is read before the pipeline knows what to do with it.
    this.devices.apply(plan, nowMs);
    for (const port of plan.ports) this.assembly.ports.setUp(port.index, this.devices.isUp(port.link.device));
    // Asks for next hops, too: everything behind one waits for the same answer.
    this.vitals.tell(plan, this.assembly, nowMs);
    this.control.send({ type: 'plan-applied', generation: plan.generation });
  }

  private refusePlan({ generation }: Plan, error: string): void {
    this.plugins.refused();
    this.control.send({ type: 'plan-refused', generation, error });
  }

  /** A flow log that cannot be written is no reason to refuse a plan. */
  private openEvents(plan: Plan): void {
    const asked = plan.flowEvents === undefined ? '' : JSON.stringify(plan.flowEvents);
    if (asked === this.eventsAsked) return;
    this.eventsAsked = asked;
    this.events = undefined;
    if (plan.flowEvents === undefined) return;
    try {
      this.events = openFlowEvents(this.arguments.flowMemoryPath, plan.flowEvents);
    } catch (error) {
      this.eventsAsked = '';
      this.log('error', `no flow events for the flow log: ${(error as Error).message}`, {});
    }
  }

  private setPorts(device: number, up: boolean): void {
    if (this.assembly === undefined || this.plan === undefined) return;
    for (const port of this.plan.ports) {
      if (port.link.device !== device) continue;
      this.assembly.ports.setUp(port.index, up);
      this.vitals.tellPort(port.index, this.assembly, this.io.nowMs);
    }
  }

  private startCapture(message: CaptureStartMessage): string {
    if (this.assembly === undefined) return 'there is no plan yet';
    return this.captures.start(message, this.assembly.tap, this.io.memory, this.io.nowMs);
  }

  private flush(request: FlushRequest): FlushedMessage {
    if (this.assembly === undefined) return { type: 'flushed', flows: 0 };
    try {
      return { type: 'flushed', flows: this.assembly.flush(flowTest(request), this.io.nowMs) };
    } catch (error) {
      return { type: 'flushed', flows: 0, error: (error as Error).message };
    }
  }

  private explain({ question }: ExplainRequest): ExplainedMessage {
    try {
      const explanation = this.assembly?.explain(question, this.io.nowMs) ?? null;
      return { type: 'explained', explanation };
    } catch (error) {
      return { type: 'explained', explanation: null, error: (error as Error).message };
    }
  }

  private status(): DataPlaneStatus {
    const counters = this.assembly?.counters;
    const table = this.assembly?.state.table;
    return {
      generation: this.plan?.generation ?? 0,
      version: RUNNING_VERSION,
      uptimeMs: Math.round(performance.now()),
      flows: table?.live ?? 0,
      maxFlows: table?.capacity ?? 0,
      flowsCreated: counters?.global(COUNTER.flows_created) ?? 0,
      devices: this.devices.specs().map((device) => ({
        index: device.index,
        name: device.name,
        state: this.io.deviceState(device.index),
        txErrors: this.io.txErrors[device.index],
        rxErrors: this.io.rxErrors[device.index],
      })),
      ports: this.plan?.ports.map((port) => this.portStatus(port)) ?? [],
      plugins: this.assembly === undefined ? [] : this.plugins.status(this.assembly),
    };
  }

  private portStatus(port: PlanPort): PortStatus {
    const { counters, ports } = this.assembly!;
    const drops: Record<string, number> = {};
    DROP_REASON_NAMES.forEach((name, reason) => {
      const count = counters.drops(port.index, reason);
      if (count > 0) drops[name] = count;
    });
    return {
      index: port.index,
      generation: port.generation,
      name: port.name,
      state: ports.wordOf[port.index] === 0 ? 'down' : 'up',
      flows: counters.port(port.index, PORT_FLOWS_LIVE),
      rxPackets: counters.port(port.index, PORT_PACKETS_IN),
      rxBytes: counters.port(port.index, PORT_BYTES_IN),
      txPackets: counters.port(port.index, PORT_PACKETS_OUT),
      txBytes: counters.port(port.index, PORT_BYTES_OUT),
      drops,
    };
  }

  /** One plugin's, one device's, or else one kind of line is limited on its own; and what a plugin says of a `topic`. */
  private log(
    level: LogMessage['level'],
    msg: string,
    fields: Readonly<Record<string, unknown>>,
    topic = '',
  ): void {
    const source = `${String(fields.plugin ?? fields.device ?? msg)} ${topic}`;
    const heldBack = this.logLimiter.allow(source, this.io.nowMs);
    if (heldBack < 0) return;
    const told = heldBack === 0 ? fields : { ...fields, heldBack };
    this.control.send({ type: 'log', level, msg, fields: told });
  }
}
