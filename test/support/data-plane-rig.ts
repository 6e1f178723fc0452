/**
 * A real data plane without control, between a client and a server: for tests that give it plans and requests themselves.
 *
 * ```
 *   client 10.0.1.10 ── TUN ── data plane (site paris, internet with source translation) ── TUN ── server 203.0.113.10
 * ```
 *
 * Everything is in network namespaces of its own, and gone with {@link DataPlaneRig.remove}.
 */
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DataPlaneLink } from '../../src/control/runtime/data-plane-link.ts';
import { dataPlaneMain } from '../../src/control/runtime/data-plane-process.ts';
import {
  type ControlMessage,
  type DataPlaneMessage,
  type DataPlaneStatus,
  formatDataPlaneArguments,
} from '../../src/dataplane/messages.ts';
import type { Plan, PlanPlugin } from '../../src/pipeline/plan.ts';
import { CLIENT_ADDRESS, EXTERNAL_ADDRESS, SERVER_ADDRESS, tunPlan } from '../bench/lab-plans.ts';
import { linesOf, NetworkNamespace } from './network-namespace.ts';
import { eventually } from './patience.ts';
import { planPlugin } from './plugins.ts';

const UDP_END = join(import.meta.dirname, 'udp-end.ts');
const ECHO_PORT = 7000;

/** What a sender of numbered datagrams has seen. */
export interface PingReport {
  readonly sent: number;
  readonly received: number;
  readonly rttMs: { readonly median: number; readonly p99: number; readonly max: number };
}

export class DataPlaneRig {
  readonly gateway = new NetworkNamespace();
  readonly client = new NetworkNamespace();
  readonly server = new NetworkNamespace();
  /** Everything that the data plane has said unasked. */
  readonly said: DataPlaneMessage[] = [];
  child: ChildProcessWithoutNullStreams | undefined;
  readonly directory = mkdtempSync('/dev/shm/homeward-test-');
  private link: DataPlaneLink | undefined;
  /** Each says whether a message is its answer; undefined: there is nobody to answer any more. */
  private waiting: ((message: DataPlaneMessage | undefined) => boolean)[] = [];
  private generation = 0;

  /** Starts the data plane, with these plugins before return routing, and an echo server on {@link ECHO_PORT} and `ports`. */
  static async start(
    plugins: readonly PlanPlugin[],
    ports: readonly number[] = [],
    environment: Readonly<Record<string, string>> = {},
  ): Promise<DataPlaneRig> {
    const rig = new DataPlaneRig();
    try {
      for (const namespace of [rig.gateway, rig.client, rig.server]) {
        namespace.exec('sysctl', ['-qw', 'net.ipv6.conf.default.disable_ipv6=1']);
        namespace.ip('link set lo up');
      }
      await rig.startProcess(environment);
      await rig.apply(plugins);
      rig.connect();
      const echo = rig.server.spawn(process.execPath, [
        UDP_END,
        'echo',
        SERVER_ADDRESS,
        ...[ECHO_PORT, ...ports].map(String),
      ]);
      await linesOf(echo).next();
      return rig;
    } catch (error) {
      await rig.remove();
      throw error;
    }
  }

  /** Starts (again) the process; what it prints goes to standard error. */
  async startProcess(environment: Readonly<Record<string, string>> = {}): Promise<void> {
    const socketPath = join(this.directory, 'data-plane.sock');
    const child = this.gateway.spawn(
      process.execPath,
      [
        dataPlaneMain(),
        ...formatDataPlaneArguments({
          runtimeDirectory: this.directory,
          socketPath,
          flowMemoryPath: join(this.directory, 'flows'),
        }),
      ],
      { ...process.env, ...environment },
    );
    child.stderr.on('data', (chunk: Buffer) => process.stderr.write(chunk));
    this.child = child;
    const link = await eventually('the data plane listens', () => {
      if (child.exitCode !== null) throw new Error(`the data plane has ended with ${child.exitCode}`);
      return DataPlaneLink.open(socketPath, 10_000).catch(() => undefined);
    });
    this.link = link;
    link.on('close', () => {
      for (const takes of this.waiting.splice(0)) takes(undefined);
    });
    link.on('message', (message) => {
      const at = this.waiting.findIndex((takes) => takes(message));
      if (at >= 0) this.waiting.splice(at, 1);
      else if (message.type !== 'heartbeat') this.said.push(message);
    });
  }

  /** Gives it another plan; throws if it is refused. */
  async apply(plugins: readonly PlanPlugin[], change: (plan: Plan) => Plan = (plan) => plan): Promise<void> {
    const plan = change({
      ...tunPlan('t-site', 't-twin', 't-internet'),
      generation: ++this.generation,
      plugins: [...plugins, planPlugin('plugins/return-routing/manifest.json')],
    });
    const answer = await this.ask({ type: 'plan', plan }, ['plan-applied', 'plan-refused']);
    if (answer.type === 'plan-refused') throw new Error(answer.error);
  }

  /** Sends a request and waits for an answer of these types. */
  ask<Type extends DataPlaneMessage['type']>(
    request: ControlMessage,
    types: readonly Type[],
  ): Promise<Extract<DataPlaneMessage, { type: Type }>> {
    return new Promise((resolve, reject) => {
      this.waiting.push((message) => {
        if (message === undefined) {
          reject(new Error(`the data plane is gone, and does not answer ${request.type}`));
          return true;
        }
        if (!(types as readonly string[]).includes(message.type)) return false;
        resolve(message as Extract<DataPlaneMessage, { type: Type }>);
        return true;
      });
      this.send(request);
    });
  }

  send(message: ControlMessage): void {
    this.link!.send(message);
  }

  async status(): Promise<DataPlaneStatus> {
    return (await this.ask({ type: 'status' }, ['status'])).status;
  }

  /** Ends the process in order, and waits for that. */
  async stop(): Promise<number | null> {
    const child = this.child!;
    const gone = new Promise<number | null>((resolve) => child.once('exit', resolve));
    this.send({ type: 'stop' });
    return gone;
  }

  /** Sends numbered datagrams, `rate` a second, to an echo port; returns what ends that and gives its report. */
  async ping(rate: number, port = ECHO_PORT): Promise<() => Promise<PingReport>> {
    const child = this.client.spawn(process.execPath, [
      UDP_END,
      'ping',
      CLIENT_ADDRESS,
      SERVER_ADDRESS,
      String(port),
      String(rate),
    ]);
    const lines = linesOf(child);
    await lines.next();
    return async () => {
      child.stdin.write('stop');
      return JSON.parse((await lines.next()).value as string) as PingReport;
    };
  }

  /** How many of so many datagrams to an echo port come back, from a port of its own. */
  async answered(port = ECHO_PORT): Promise<PingReport> {
    const stop = await this.ping(50, port);
    await new Promise((resolve) => setTimeout(resolve, 300));
    return stop();
  }

  /** One datagram from each of so many ports of the client to each of so many of the server. */
  async spread(from: number, to: number): Promise<void> {
    const counts = [from, to].map(String);
    await this.client.attempt(process.execPath, [
      UDP_END,
      'spread',
      CLIENT_ADDRESS,
      SERVER_ADDRESS,
      ...counts,
    ]);
  }

  /** Everything is gone afterwards. */
  async remove(): Promise<void> {
    this.link?.close();
    for (const namespace of [this.client, this.server, this.gateway]) await namespace.remove();
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** Gives client and server their devices; again after the process has made them anew. */
  connect(): void {
    this.gateway.ip(
      `link set t-site netns ${this.client.name}`,
      `link set t-internet netns ${this.server.name}`,
    );
    this.client.ip(
      'link set t-site up',
      `address add ${CLIENT_ADDRESS}/32 dev t-site`,
      'route add default dev t-site',
    );
    this.server.ip(
      'link set t-internet up',
      `address add ${SERVER_ADDRESS}/32 dev t-internet`,
      `route add ${EXTERNAL_ADDRESS}/32 dev t-internet`,
    );
  }
}
