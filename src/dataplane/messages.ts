/**
 * What control and the data plane say to each other, and how it is framed.
 *
 * The data plane listens on a Unix stream socket in the runtime directory and serves one control at a time: a
 * newer connection replaces the older one. Each message is a JSON object behind its length:
 *
 * ```
 *  0               4                       4 + length
 *  +---------------+-----------------------+
 *  | length        | JSON, UTF-8           |   length: u32, big endian, 1..MAX_MESSAGE_BYTES
 *  +---------------+-----------------------+
 *
 *  control                              data plane
 *     | ------------- connect ------------> |
 *     | <------------- ready -------------- |   who it is, which plan it runs
 *     | -------------- plan --------------> |
 *     | <--- plan-applied | plan-refused -- |   a refused plan changes nothing
 *     | <----------- heartbeat ------------ |   each HEARTBEAT_INTERVAL_MS, unasked
 *     | ---- status, flush, explain ------> |
 *     | <-- status, flushed, explained ---- |   in the order of the requests
 *     | ---------- capture-start ---------> |
 *     | <--------- capture-started -------- |
 *     | ---------- capture-stop ----------> |   also ends when its ring is not read any more
 *     | ----- probe, neighbor, strays ----> |
 *     | <-- probe-sent, neighbor, strays -- |
 *     | <--------- probe-answered --------- |   when a reply comes
 *     | ------------ penalties -----------> |
 *     | -- plugin-message, plugin-decide -> |
 *     | ----------- plugin-query ---------> |
 *     | <--------- plugin-answer ---------- |   in the order of the requests
 *     | <--------- plugin-message --------- |   from a data half
 *     | ------------ diverted ------------> |   whose connection a proxy has got
 *     | <----------- diverted ------------- |
 *     | <--------- plugin-failed ---------- |   as news: not each time
 *     | ------------ reevaluate ----------> |
 *     | <----------- reevaluated ---------- |   when every flow has been judged
 *     | -------------- stop --------------> |   the data plane closes its devices and exits with 0
 * ```
 *
 * The connection's end means nothing to the data plane: it goes on forwarding. Both sides drop a connection
 * that carries something that is not in this list.
 *
 * Neighbours: `plugin-messages.ts` has what concerns plugins; `dataplane/main.ts` speaks the data plane's side, `control/runtime/data-plane-link.ts` control's.
 * This module depends on types only, and does not throw for what the peer sends.
 */
import type { FlowConditions } from '../flow/flow-conditions.ts';
import type { CaptureSelection } from '../pipeline/capture/capture-session.ts';
import type { Explanation, Question } from '../pipeline/explain/explanation.ts';
import type { Plan } from '../pipeline/plan.ts';
import type { PluginControlMessage, PluginDataPlaneMessage, PluginStatus } from './plugin-messages.ts';

/** What a data plane locks its network namespace for: two would read the same packets. */
export const DATA_PLANE_LOCK = 'homeward data plane';
/** The longest JSON text of one message, bytes. */
export const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
/** Bytes of the length in front of every message. */
export const MESSAGE_PREFIX_BYTES = 4;
/** The data plane sends a heartbeat that often, also while it is idle. */
export const HEARTBEAT_INTERVAL_MS = 100;
/** A data plane that was silent for so long is taken for stuck, killed and started anew. */
export const HEARTBEAT_TIMEOUT_MS = 1000;

/** From control to the data plane. */
export type ControlMessage =
  | PlanMessage
  | StopMessage
  | StatusRequest
  | FlushRequest
  | ExplainRequest
  | ProbeRequest
  | NeighborRequest
  | PenaltiesMessage
  | StraysRequest
  | CaptureStartMessage
  | CaptureStopMessage
  | PluginControlMessage;

export interface PlanMessage {
  readonly type: 'plan';
  readonly plan: Plan;
}

/** Stop forwarding, close the devices, leave the flow memory valid, exit with 0. */
export interface StopMessage {
  readonly type: 'stop';
}

export interface StatusRequest {
  readonly type: 'status';
}

/** Send one test packet through a tunnel. Answered by `probe-sent`, and by `probe-answered` if a reply comes. */
export interface ProbeRequest {
  readonly type: 'probe';
  /** Control's number for it, above 0. */
  readonly id: number;
  /** Name of the tunnel. */
  readonly port: string;
  readonly target: string;
}

/** Which tunnels to avoid from now on (`pipeline/port-table.ts`), by name; the others have no penalty. Not answered. */
export interface PenaltiesMessage {
  readonly type: 'penalties';
  readonly penalties: Readonly<Record<string, number>>;
}

/** Tell who on a tunnel's own link was heard last. Answered by `neighbor`. */
export interface NeighborRequest {
  readonly type: 'neighbor';
  /** Name of the tunnel. */
  readonly port: string;
}

/** Tell which packets came by a tunnel where nothing expects them. Answered by `strays`. */
export interface StraysRequest {
  readonly type: 'strays';
}

/** End the flows that meet the conditions; without any: every flow. */
export interface FlushRequest extends FlowConditions {
  readonly type: 'flush';
}

/** Say what would become of a packet, or becomes of a flow. Changes nothing. */
export interface ExplainRequest {
  readonly type: 'explain';
  readonly question: Question;
}

/** Copy packets into a ring that control has made (`pipeline/capture/`). Answered by `capture-started`. */
export interface CaptureStartMessage {
  readonly type: 'capture-start';
  /** Control's number for it. */
  readonly id: number;
  /** The ring's file; its name is needed no longer once the answer has come. */
  readonly ringPath: string;
  readonly selection: CaptureSelection;
}

/** End a capture; not answered. One that has ended already is no error. */
export interface CaptureStopMessage {
  readonly type: 'capture-stop';
  readonly id: number;
}

/** From the data plane to control. */
export type DataPlaneMessage =
  | ReadyMessage
  | PlanAppliedMessage
  | PlanRefusedMessage
  | FlushedMessage
  | ExplainedMessage
  | CaptureStartedMessage
  | ProbeSentMessage
  | NeighborMessage
  | ProbeAnsweredMessage
  | StraysMessage
  | StatusMessage
  | HeartbeatMessage
  | LogMessage
  | PluginDataPlaneMessage;

/** The first message on every connection. */
export interface ReadyMessage {
  readonly type: 'ready';
  readonly pid: number;
  /** Generation of the plan it runs, 0 for none yet. */
  readonly generation: number;
}

export interface PlanAppliedMessage {
  readonly type: 'plan-applied';
  readonly generation: number;
}

/** Nothing was changed: the former plan goes on. */
export interface PlanRefusedMessage {
  readonly type: 'plan-refused';
  readonly generation: number;
  readonly error: string;
}

export interface FlushedMessage {
  readonly type: 'flushed';
  readonly flows: number;
  /** Why the conditions cannot be used; nothing was flushed then. */
  readonly error?: string;
}

export interface ExplainedMessage {
  readonly type: 'explained';
  /** null: there is no such flow or port, or no plan yet; or `error` says what is wrong. */
  readonly explanation: Explanation | null;
  readonly error?: string;
}

export interface CaptureStartedMessage {
  readonly type: 'capture-started';
  readonly id: number;
  /** Why it was not; empty if it was. */
  readonly error: string;
}

export interface ProbeSentMessage {
  readonly type: 'probe-sent';
  readonly id: number;
  /** Why it was not: a drop reason, `no_interface_address`, `no_such_tunnel`, `no_address`; empty if it was. */
  readonly error: string;
}

/** The reply to a probe has come, unasked. */
export interface ProbeAnsweredMessage {
  readonly type: 'probe-answered';
  readonly id: number;
  /** Name of the tunnel or egress that it came by. */
  readonly port: string;
  readonly rttMs: number;
}

export interface NeighborMessage {
  readonly type: 'neighbor';
  /** null: nobody is known, or the tunnel has no link of its own. */
  readonly address: string | null;
}

export interface StraysMessage {
  readonly type: 'strays';
  /** Replies that nothing expects, since the process began. */
  readonly unexpected: number;
  /** Of the examined ones: like a flow of another site or egress. */
  readonly foreign: number;
  /** The last examined ones, oldest first. */
  readonly last: readonly StrayReport[];
}

/** A packet that came where nothing expects it (`pipeline/strays.ts`), ports by name; null: not in the plan any more. */
export interface StrayReport {
  readonly kind: 'unexpected_reply' | 'foreign_tunnel';
  readonly ageMs: number;
  readonly port: string | null;
  readonly expectedPort: string | null;
  readonly protocol: number;
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
  /** The flow that it looks like; 0 for none. */
  readonly flow: number;
}

export interface StatusMessage {
  readonly type: 'status';
  readonly status: DataPlaneStatus;
}

export interface HeartbeatMessage {
  readonly type: 'heartbeat';
}

export interface LogMessage {
  readonly type: 'log';
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly msg: string;
  readonly fields?: Readonly<Record<string, unknown>>;
}

/** The data plane's account of itself. Counters count from the creation of the flow memory. */
export interface DataPlaneStatus {
  readonly generation: number;
  /** Of homeward, as this process runs it. */
  readonly version: string;
  /** Since this process began, milliseconds. */
  readonly uptimeMs: number;
  readonly flows: number;
  readonly maxFlows: number;
  readonly flowsCreated: number;
  readonly devices: readonly DeviceStatus[];
  readonly ports: readonly PortStatus[];
  readonly plugins: readonly PluginStatus[];
}

export interface DeviceStatus {
  readonly index: number;
  readonly name: string;
  readonly state: 'open' | 'closed' | 'gone';
  readonly txErrors: number;
  /** Frames that could not be received, above all those that came faster than they were read. */
  readonly rxErrors: number;
}

export interface PortStatus {
  readonly index: number;
  readonly generation: number;
  readonly name: string;
  readonly state: 'up' | 'down';
  /** Flows that came in by this port. */
  readonly flows: number;
  readonly rxPackets: number;
  readonly rxBytes: number;
  readonly txPackets: number;
  readonly txBytes: number;
  /** Packets dropped, by the name of the reason; reasons that never happened are left out. */
  readonly drops: Readonly<Record<string, number>>;
}

const CONTROL_TYPES: ReadonlySet<string> = new Set<ControlMessage['type']>([
  'plan',
  'stop',
  'status',
  'flush',
  'explain',
  'capture-start',
  'capture-stop',
  'probe',
  'neighbor',
  'penalties',
  'strays',
  'plugin-message',
  'plugin-decide',
  'plugin-query',
  'diverted',
  'reevaluate',
]);
const DATA_PLANE_TYPES: ReadonlySet<string> = new Set<DataPlaneMessage['type']>([
  'ready',
  'plan-applied',
  'plan-refused',
  'flushed',
  'explained',
  'capture-started',
  'probe-sent',
  'neighbor',
  'probe-answered',
  'strays',
  'status',
  'heartbeat',
  'log',
  'plugin-message',
  'plugin-failed',
  'plugin-answer',
  'diverted',
  'reevaluated',
]);

/**
 * One message as bytes, length in front.
 *
 * @throws RangeError if it is longer than {@link MAX_MESSAGE_BYTES}: that is for the sender to avoid.
 */
export function encodeMessage(message: ControlMessage | DataPlaneMessage): Uint8Array {
  const json = Buffer.from(JSON.stringify(message), 'utf8');
  if (json.length > MAX_MESSAGE_BYTES) {
    throw new RangeError(`a ${message.type} message of ${json.length} bytes exceeds ${MAX_MESSAGE_BYTES}`);
  }
  const framed = Buffer.allocUnsafe(MESSAGE_PREFIX_BYTES + json.length);
  framed.writeUInt32BE(json.length, 0);
  json.copy(framed, MESSAGE_PREFIX_BYTES);
  return framed;
}

/**
 * Takes bytes as they come and gives messages. After the first fault (`error` is set) it gives no more: the
 * stream has lost its frames, and the connection is to be closed.
 */
export class MessageDecoder<Message extends ControlMessage | DataPlaneMessage> {
  /** What is wrong with the stream, or an empty string. */
  error = '';
  readonly #types: ReadonlySet<string>;
  readonly #maxBytes: number;
  #buffer: Buffer = Buffer.allocUnsafe(4096);
  #start = 0;
  #end = 0;

  private constructor(types: ReadonlySet<string>, maxBytes: number) {
    this.#types = types;
    this.#maxBytes = maxBytes;
  }

  /** For the data plane: reads what control sends. */
  static ofControl(maxBytes = MAX_MESSAGE_BYTES): MessageDecoder<ControlMessage> {
    return new MessageDecoder<ControlMessage>(CONTROL_TYPES, maxBytes);
  }

  /** For control: reads what the data plane sends. */
  static ofDataPlane(maxBytes = MAX_MESSAGE_BYTES): MessageDecoder<DataPlaneMessage> {
    return new MessageDecoder<DataPlaneMessage>(DATA_PLANE_TYPES, maxBytes);
  }

  /** Copies received bytes in. The chunk stays the caller's. Does nothing after a fault. */
  push(chunk: Uint8Array): void {
    if (this.error !== '') return;
    this.#reserve(chunk.length);
    this.#buffer.set(chunk, this.#end);
    this.#end += chunk.length;
  }

  /** The next whole message, or undefined: more bytes are needed, or `error` is set. */
  next(): Message | undefined {
    if (this.error !== '' || this.#end - this.#start < MESSAGE_PREFIX_BYTES) return undefined;
    const lengthBytes = this.#buffer.readUInt32BE(this.#start);
    // Judged before the message is there, so that a wrong length never makes the buffer grow.
    if (lengthBytes === 0 || lengthBytes > this.#maxBytes) {
      return this.#fail(`a message of ${lengthBytes} bytes is outside 1..${this.#maxBytes}`);
    }
    const bodyStart = this.#start + MESSAGE_PREFIX_BYTES;
    const bodyEnd = bodyStart + lengthBytes;
    if (this.#end < bodyEnd) return undefined;
    let message: unknown;
    try {
      message = JSON.parse(this.#buffer.toString('utf8', bodyStart, bodyEnd));
    } catch {
      return this.#fail('a message is not JSON');
    }
    const type =
      typeof message === 'object' && message !== null && 'type' in message ? message.type : undefined;
    if (typeof type !== 'string' || !this.#types.has(type)) return this.#fail('a message of an unknown type');
    this.#start = bodyEnd;
    if (this.#start === this.#end) {
      this.#start = 0;
      this.#end = 0;
    }
    return message as Message;
  }

  #fail(error: string): undefined {
    this.error = error;
    this.#buffer = Buffer.alloc(0);
    this.#start = 0;
    this.#end = 0;
    return undefined;
  }

  #reserve(moreBytes: number): void {
    const held = this.#end - this.#start;
    if (this.#end + moreBytes <= this.#buffer.length) return;
    let room = this.#buffer.length;
    while (room < held + moreBytes) room *= 2;
    const target = room === this.#buffer.length ? this.#buffer : Buffer.allocUnsafe(room);
    this.#buffer.copy(target, 0, this.#start, this.#end);
    this.#buffer = target;
    this.#start = 0;
    this.#end = held;
  }
}

/** What control tells the data plane on its command line. */
export interface DataPlaneArguments {
  /** Directory of the instance; the data plane writes nothing there but its socket. */
  readonly runtimeDirectory: string;
  /** Where it listens for control. A socket file left by a former one is replaced. */
  readonly socketPath: string;
  /** The flow memory's file, on tmpfs; made if it is not there. */
  readonly flowMemoryPath: string;
}

const ARGUMENT_NAMES = {
  '--runtime-directory': 'runtimeDirectory',
  '--socket': 'socketPath',
  '--flow-memory': 'flowMemoryPath',
} as const;

/** The arguments as a command line, without the program. */
export function formatDataPlaneArguments(values: DataPlaneArguments): string[] {
  return Object.entries(ARGUMENT_NAMES).flatMap(([name, field]) => [name, values[field]]);
}

/**
 * The inverse of {@link formatDataPlaneArguments}.
 *
 * @throws Error that names the argument that is unknown or missing.
 */
export function parseDataPlaneArguments(argv: readonly string[]): DataPlaneArguments {
  const values: Partial<Record<keyof DataPlaneArguments, string>> = {};
  for (let at = 0; at < argv.length; at += 2) {
    const name = argv[at];
    if (!Object.hasOwn(ARGUMENT_NAMES, name)) throw new Error(`unknown argument ${name}`);
    const value = argv[at + 1];
    if (value === undefined) throw new Error(`argument ${name} has no value`);
    values[ARGUMENT_NAMES[name as keyof typeof ARGUMENT_NAMES]] = value;
  }
  for (const [name, field] of Object.entries(ARGUMENT_NAMES)) {
    if (values[field] === undefined) throw new Error(`argument ${name} is missing`);
  }
  return values as DataPlaneArguments;
}
