/**
 * Tests of tunnels: echo requests of the gateway's own through each, and whether the replies come back by the same
 * one. The data plane sends them and says by what port each reply came (`pipeline/tunnel-probes.ts`). A tunnel that is down
 * is not tested: the answer says why it is down.
 *
 * Neighbours: `prober.ts` (sends), `test-target.ts` (to whom), `api/routes/tunnel-tests.ts`, `runtime/supervisor.ts` (asks for strays).
 */
import type { ProbeAnsweredMessage, StraysMessage } from '../../dataplane/messages.ts';
import type { Config, TunnelConfig } from '../config/config.ts';
import type { FlowService } from '../flows/flow-service.ts';
import { problemsAbout } from '../host-report.ts';
import { RequestError } from '../request-error.ts';
import type { Logger } from '../runtime/logger.ts';
import type { Supervisor } from '../runtime/supervisor.ts';
import { findNamed } from '../unknown-name.ts';
import type { IpsecConnection } from './ipsec-connection.ts';
import type { Prober } from './prober.ts';
import { type TargetOrigin, type TestTarget, TestTargets } from './test-target.ts';

export interface TunnelTestRequest {
  /** Names; all tunnels if there are none. */
  readonly tunnels: readonly string[];
  /** An address that answers ping; default: the other end, where that is known. */
  readonly target: string | undefined;
  /** Echo requests for each tunnel. */
  readonly count: number;
  /** How long to wait for each reply. */
  readonly timeoutMs: number;
}

/**
 * - `passed`: every reply came by the same tunnel
 * - `lossy`: some did, and none by another
 * - `no_reply`: none came
 * - `wrong_tunnel`: at least one came by another tunnel or an egress
 * - `down`: the tunnel is down or disabled; `reason` says why
 * - `not_sent`: nothing could be sent; `reason` says why
 */
export type TunnelTestOutcome = 'passed' | 'lossy' | 'no_reply' | 'wrong_tunnel' | 'down' | 'not_sent';

export interface TunnelTestResult {
  readonly tunnel: string;
  readonly site: string;
  readonly target: string | null;
  /** How the target was found; null: there is none. */
  readonly targetFrom: TargetOrigin | null;
  readonly outcome: TunnelTestOutcome;
  readonly reason: string | null;
  readonly sent: number;
  /** By this tunnel. */
  readonly received: number;
  /** By others: how many by which. */
  readonly elsewhere: Readonly<Record<string, number>>;
  /** To the microsecond. */
  readonly rttMs: { readonly min: number; readonly average: number; readonly max: number } | null;
  /** null: it is no `ipsec` tunnel, or does not run. */
  readonly ipsec: IpsecConnection | null;
}

export interface Mismatch {
  /** ISO 8601, UTC. */
  readonly time: string;
  readonly kind: 'unexpected_reply' | 'foreign_tunnel';
  /** By which it came; null: gone meanwhile. */
  readonly tunnel: string | null;
  /** By which the flow's packets come that it looks like. */
  readonly expected: string | null;
  readonly flow: number | null;
  readonly protocol: number;
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
}

export interface Mismatches {
  readonly unexpectedReplies: number;
  readonly foreignTunnelPackets: number;
  /** The last ones, oldest first. */
  readonly mismatches: readonly Mismatch[];
}

export interface TunnelTestsOptions {
  readonly config: () => Config;
  readonly supervisor: Supervisor;
  readonly prober: Prober;
  readonly flows: FlowService;
  /** What is not as the configuration has it, one line each with the path of what it is about. */
  readonly problems: () => readonly string[];
  readonly ipsec: (tunnel: string) => IpsecConnection | null;
  readonly logger: Logger;
}

/** Tunnels that are tested at a time: their probes all wait in the data plane. */
const AT_A_TIME = 50;
const BETWEEN_PROBES_MS = 50;
const RUNNING_TESTS = 4;

const REASONS: Readonly<Record<string, string>> = {
  no_interface_address:
    'the tunnel has no interface_address of that family: there is nothing to send from; write one into the configuration',
  no_interface_addresses:
    'the tunnel has no interface_address: there is nothing to send from; write one into the configuration',
  no_such_tunnel: 'the tunnel is not in the plan that runs',
  no_target:
    'nothing tells the address of the other end, and nobody there was heard yet: give one that answers ping as target (--target, or health.target in the configuration)',
};

export class TunnelTests {
  readonly #options: TunnelTestsOptions;
  readonly #targets: TestTargets;
  #running = 0;

  constructor(options: TunnelTestsOptions) {
    this.#options = options;
    this.#targets = new TestTargets(options.supervisor, options.flows);
  }

  /**
   * Tests tunnels, at most so many at a time, and answers for each, in the order asked for.
   *
   * @param signal ends the tests: nobody waits for them any more
   * @throws RequestError `no_such_tunnel`, `too_many_tests`; DataPlaneGoneError
   */
  async run(request: TunnelTestRequest, signal?: AbortSignal): Promise<readonly TunnelTestResult[]> {
    const tunnels = this.#tunnels(request.tunnels);
    if (this.#running >= RUNNING_TESTS) {
      throw new RequestError(
        'unavailable',
        'too_many_tests',
        `${RUNNING_TESTS} tests run already; try again`,
      );
    }
    this.#running++;
    try {
      const results: TunnelTestResult[] = [];
      const { ports } = await this.#options.supervisor.status();
      const down = new Set(ports.flatMap(({ name, state }) => (state === 'down' ? [name] : [])));
      for (let at = 0; at < tunnels.length && signal?.aborted !== true; at += AT_A_TIME) {
        const some = tunnels.slice(at, at + AT_A_TIME);
        const tests = some.map((tunnel) =>
          down.has(tunnel.config.name) || !tunnel.config.enabled
            ? this.#notTested(tunnel, undefined, 'port_down')
            : this.#test(tunnel, request, signal),
        );
        results.push(...(await Promise.all(tests)));
      }
      return results;
    } finally {
      this.#running--;
    }
  }

  /**
   * Packets that came by a tunnel where nothing expects them.
   *
   * @throws DataPlaneGoneError
   */
  async mismatches(): Promise<Mismatches> {
    const { unexpected, foreign, last } = await this.#options.supervisor.ask({ type: 'strays' }, 'strays');
    return {
      unexpectedReplies: unexpected,
      foreignTunnelPackets: foreign,
      mismatches: last.map(mismatchOf),
    };
  }

  #tunnels(names: readonly string[]): TestedTunnel[] {
    const all = this.#options
      .config()
      .sites.flatMap(({ name: site, tunnels }) =>
        tunnels.map((config) => ({ name: config.name, site, config })),
      );
    if (names.length === 0) return all;
    return names.map((name) => findNamed('tunnel', name, all));
  }

  async #test(
    tested: TestedTunnel,
    request: TunnelTestRequest,
    signal: AbortSignal | undefined,
  ): Promise<TunnelTestResult> {
    const target = await this.#targets.of(tested.config, request.target);
    const tunnel = tested.config.name;
    if (target === undefined) {
      const hasSource = tested.config.interfaceAddresses.length > 0;
      return this.#notTested(tested, undefined, hasSource ? 'no_target' : 'no_interface_addresses');
    }
    const probes: Promise<ProbeAnsweredMessage | undefined>[] = [];
    let refusal = '';
    for (let i = 0; i < request.count && signal?.aborted !== true; i++) {
      if (i > 0) await new Promise((resolve) => setTimeout(resolve, BETWEEN_PROBES_MS));
      const { error, answer } = await this.#options.prober.send(
        tunnel,
        target.address,
        request.timeoutMs,
        signal,
      );
      if (error === '') probes.push(answer);
      else refusal = error;
    }
    if (probes.length === 0) return this.#notTested(tested, target, refusal);
    const ipsec = this.#options.ipsec(tunnel);
    const result = { ...judge(tested, target, await Promise.all(probes)), ipsec };
    if (result.outcome === 'wrong_tunnel') {
      const { elsewhere } = result;
      const { address } = target;
      this.#options.logger.warn(
        { tunnel, target: address, elsewhere },
        'tunnel test: replies came by other ways',
      );
    }
    return result;
  }

  #notTested({ site, config }: TestedTunnel, target: TestTarget | undefined, why: string): TunnelTestResult {
    const isDown = why === 'port_down';
    return {
      tunnel: config.name,
      site,
      target: target?.address ?? null,
      targetFrom: target?.origin ?? null,
      outcome: isDown ? 'down' : 'not_sent',
      reason: isDown ? this.#whyDown(config) : (REASONS[why] ?? `the packet was dropped: ${why}`),
      sent: 0,
      received: 0,
      elsewhere: {},
      rttMs: null,
      ipsec: this.#options.ipsec(config.name),
    };
  }

  #whyDown({ name, enabled }: TunnelConfig): string {
    if (!enabled) return `it is disabled: "homeward tunnels enable ${name}"`;
    const reasons = problemsAbout(name, this.#options.problems());
    return reasons.length === 0 ? 'the device that carries it is not usable' : reasons.join('\n');
  }
}

interface TestedTunnel {
  readonly site: string;
  readonly config: TunnelConfig;
}

function judge(
  { site, config: { name: tunnel } }: TestedTunnel,
  target: TestTarget,
  answers: readonly (ProbeAnsweredMessage | undefined)[],
): Omit<TunnelTestResult, 'ipsec'> {
  const came = answers.filter((answer) => answer !== undefined);
  const here = came.filter(({ port }) => port === tunnel);
  const elsewhere: Record<string, number> = {};
  for (const { port } of came) if (port !== tunnel) elsewhere[port] = (elsewhere[port] ?? 0) + 1;
  const times = here.map(({ rttMs }) => rttMs);
  let outcome: TunnelTestOutcome = 'lossy';
  if (came.length > here.length) outcome = 'wrong_tunnel';
  else if (here.length === answers.length) outcome = 'passed';
  else if (here.length === 0) outcome = 'no_reply';
  const sum = times.reduce((total, time) => total + time, 0);
  return {
    tunnel,
    site,
    target: target.address,
    targetFrom: target.origin,
    outcome,
    reason: null,
    sent: answers.length,
    received: here.length,
    elsewhere,
    rttMs:
      times.length === 0
        ? null
        : {
            min: Math.min(...times),
            average: Math.round((sum / times.length) * 1000) / 1000,
            max: Math.max(...times),
          },
  };
}

function mismatchOf(stray: StraysMessage['last'][number]): Mismatch {
  const { kind, ageMs, port, expectedPort, flow, ...packet } = stray;
  return {
    time: new Date(Date.now() - ageMs).toISOString(),
    kind,
    tunnel: port,
    expected: expectedPort,
    flow: flow === 0 ? null : flow,
    ...packet,
  };
}
