/**
 * The TypeScript end of `agent/agent.py`: one process that holds clients, servers, captures and wires in the
 * lab's namespaces. Commands are JSON lines; namespaces are given by their full names.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pinned } from '../processor.ts';

/** `stream`: a connection with data on its way in both directions all the time (`agent/streams.py`). */
export type FlowKind = 'tcp' | 'udp' | 'icmp' | 'fragments' | 'stream';

/** One client; `agent/flows.py` and `agent/streams.py` say what it sends. */
export interface FlowJob {
  readonly kind: FlowKind;
  readonly family: 4 | 6;
  readonly namespace: string;
  readonly source: string;
  /** ICMP: the identifier. */
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort?: number;
  /** 32 characters. */
  readonly token: string;
  /** Messages. */
  readonly count: number;
  /** UDP and ICMP: from message to message. TCP: from an answer to the next message. */
  readonly intervalMs: number;
  /** Bytes of a message: payload of UDP and ICMP. */
  readonly size: number;
  /** How long to wait for answers that do not come. */
  readonly graceMs: number;
  /** Kind `fragments`: identification of the first datagram; each next one has the next. */
  readonly identification?: number;
  readonly hopLimit?: number;
  /** Send nothing larger than the path's MTU as far as it is known, and never fragment. */
  readonly dontFragment?: boolean;
}

export interface FlowResult {
  readonly done: boolean;
  readonly sent: number;
  /** Answers, each once, equal to the message byte for byte. */
  readonly received: number;
  /** Answers that were not. */
  readonly wrong: number;
  readonly duplicates: number;
  /** The longest time between two answers. */
  readonly longestGapMs: number;
  /** The first error of a socket call, by its errno name. */
  readonly error: string | null;
}

export interface ServerJob {
  /** `udp` and `tcp` echo; `http` says its name and whom it sees. */
  readonly kind: 'tcp' | 'udp' | 'http';
  readonly name: string;
  readonly namespace: string;
  readonly address: string;
  readonly port: number;
}

/** Whom a server has seen. */
export interface SeenClient {
  readonly address: string;
  readonly port: number;
  readonly token: string;
}

export interface CaptureJob {
  /** Two files are made: PATH.in.pcap and PATH.out.pcap, as seen from the device. */
  readonly path: string;
  readonly namespace: string;
  readonly device: string;
  readonly link: 'ethernet' | 'ip';
}

interface Waiting {
  resolve(result: unknown): void;
  reject(error: Error): void;
}

export class Agent {
  readonly #process: ChildProcess;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;
  #stderr = '';

  constructor() {
    const program = join(import.meta.dirname, 'agent', 'agent.py');
    const [command, args] = pinned('first', 'python3', ['-B', program]);
    this.#process = spawn(command, args, { detached: true, stdio: ['pipe', 'pipe', 'pipe'] });
    this.#process.stderr?.on('data', (data: Buffer) => {
      this.#stderr += data.toString();
    });
    this.#process.stdin?.on('error', () => undefined);
    createInterface({ input: this.#process.stdout! }).on('line', (line) => this.#answer(line));
    const fail = (why: string): void => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`the lab's agent ${why}`));
      this.#waiting.clear();
    };
    this.#process.once('error', (error) => fail(`could not be started: ${error.message}`));
    this.#process.once('close', () => fail(`has ended: ${this.#stderr.trim() || 'without a word'}`));
  }

  /** Writes the same sysctls in several namespaces. */
  async sysctl(namespaces: readonly string[], values: Readonly<Record<string, string>>): Promise<void> {
    await this.#send('sysctl', { namespaces, values });
  }

  /** Starts a server. Resolves to its number for {@link seen}. */
  async serve(server: ServerJob): Promise<number> {
    return (await this.#send('serve', { server })) as number;
  }

  async seen(server: number): Promise<SeenClient[]> {
    return (await this.#send('seen', { server })) as SeenClient[];
  }

  /** Starts flows, all at the same moment. Resolves to the run's number. */
  async start(flows: readonly FlowJob[]): Promise<number> {
    return (await this.#send('start', { flows })) as number;
  }

  async results(run: number): Promise<FlowResult[]> {
    return (await this.#send('results', { run })) as FlowResult[];
  }

  async stop(run: number): Promise<void> {
    await this.#send('stop', { run });
  }

  /** Begins captures, or goes on with those of the same paths on devices that were made anew. */
  async capture(captures: readonly CaptureJob[]): Promise<void> {
    await this.#send('capture', { captures });
  }

  /** Brings the files up to date. By path: frames so far, and frames that the kernel dropped. */
  async captured(): Promise<Record<string, { frames: number; lost: number }>> {
    return (await this.#send('captured', {})) as Record<string, { frames: number; lost: number }>;
  }

  /** Ends all captures. */
  async release(): Promise<void> {
    await this.#send('release', {});
  }

  /** Connects two new TUN devices. */
  async wire(ends: readonly [{ namespace: string; device: string }, { namespace: string; device: string }]) {
    await this.#send('wire', { ends });
  }

  /** Ends the process; its sockets and wires go with it. */
  async end(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const gone = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.stdin?.end();
    await gone;
  }

  #send(op: string, fields: object): Promise<unknown> {
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      if (this.#process.exitCode !== null) {
        reject(new Error(`the lab's agent has ended: ${this.#stderr.trim()}`));
        return;
      }
      this.#waiting.set(id, { resolve, reject });
      this.#process.stdin?.write(`${JSON.stringify({ id, op, ...fields })}\n`);
    });
  }

  #answer(line: string): void {
    const { id, result, error } = JSON.parse(line) as { id: number; result?: unknown; error?: string };
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) waiting?.resolve(result);
    else waiting?.reject(new Error(error));
  }
}
