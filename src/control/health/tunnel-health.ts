/**
 * Health checks: echo requests through every tunnel whose other end is known, all the time, and what follows.
 *
 * What fails them is avoided (`pipeline/port-table.ts`): its site's other tunnels are preferred for what is routed. It is
 * never removed; the last tunnel of a site is used whatever its health. Nothing is concluded from a peer that never
 * answers.
 *
 * Neighbours: `gateway.ts` (the owner), `health-record.ts` (judges), `tunnel-test/prober.ts` (sends).
 */
import { PENALTY_DEGRADED, PENALTY_DOWN } from '../../pipeline/port-table.ts';
import type { Config, HealthRate, TunnelConfig } from '../config/config.ts';
import { defaultTarget } from '../tunnel-test/default-target.ts';
import type { Prober } from '../tunnel-test/prober.ts';
import { type Health, HealthRecord } from './health-record.ts';

/** Between two probes of a tunnel. */
export const HEALTH_INTERVALS_MS: Readonly<Record<HealthRate, number>> = {
  low: 10_000,
  mid: 1000,
  high: 200,
};
/** An answer that takes longer is none. */
const ANSWER_TIMEOUT_MS = 1000;
/** The first probes of tunnels are spread over their interval in so many steps. */
const PHASES = 16;

const PENALTIES: Readonly<Partial<Record<Health, number>>> = {
  degraded: PENALTY_DEGRADED,
  down: PENALTY_DOWN,
};

export interface TunnelHealthStatus {
  readonly state: Health;
  /** Since when it is in this state, ISO 8601. */
  readonly since: string;
  readonly target: string;
  /** Smoothed; null before the first answer. */
  readonly rttMs: number | null;
  /** Of the last 256 probes, 0 to 1. */
  readonly lossRatio: number;
  /** Since the tunnel is checked. */
  readonly sent: number;
  readonly lost: number;
}

export interface TunnelHealthOptions {
  readonly prober: Prober;
  /** Takes the penalties that hold from now on, by tunnel; the others have none. */
  readonly penalise: (penalties: Readonly<Record<string, number>>) => void;
  /** A tunnel came into another state. */
  readonly onChange: () => void;
}

interface Checked {
  /** Everything that makes it this tunnel and this check, as one text. */
  readonly identity: string;
  readonly target: string;
  readonly record: HealthRecord;
  /** When the record's state last changed, milliseconds since 1970. */
  sinceMs: number;
  timer: NodeJS.Timeout;
}

export class TunnelHealth {
  readonly #options: TunnelHealthOptions;
  readonly #checked = new Map<string, Checked>();

  constructor(options: TunnelHealthOptions) {
    this.#options = options;
  }

  /** Checks the tunnels of this configuration from now on. One that has not changed keeps its record. */
  configure(config: Config): void {
    const tunnels = config.sites.flatMap((site) =>
      site.tunnels.map((tunnel) => ({ tunnel, identity: JSON.stringify([site.name, tunnel]) })),
    );
    const wanted = new Map(tunnels.map(({ tunnel, identity }) => [tunnel.name, identity]));
    for (const [name, { identity, timer }] of this.#checked) {
      if (wanted.get(name) === identity) continue;
      clearTimeout(timer);
      this.#checked.delete(name);
    }
    tunnels.forEach(({ tunnel, identity }, at) => {
      const target = healthTarget(tunnel);
      if (target !== undefined && !this.#checked.has(tunnel.name)) this.#begin(tunnel, target, identity, at);
    });
    this.#penalise();
  }

  /** null: the tunnel is not checked. */
  status(tunnel: string): TunnelHealthStatus | null {
    const checked = this.#checked.get(tunnel);
    if (checked === undefined) return null;
    const { state, rttMs, lossRatio, sent, lost } = checked.record;
    return {
      state,
      since: new Date(checked.sinceMs).toISOString(),
      target: checked.target,
      rttMs: rttMs === null ? null : round(rttMs),
      lossRatio,
      sent,
      lost,
    };
  }

  stop(): void {
    for (const { timer } of this.#checked.values()) clearTimeout(timer);
    this.#checked.clear();
  }

  #begin({ name, health }: TunnelConfig, target: string, identity: string, at: number): void {
    const intervalMs = HEALTH_INTERVALS_MS[health!.rate];
    const probe = (): void => {
      checked.timer = setTimeout(probe, intervalMs).unref();
      void this.#probe(name, checked);
    };
    const checked: Checked = {
      identity,
      target,
      record: new HealthRecord(),
      sinceMs: Date.now(),
      timer: setTimeout(probe, (intervalMs * (at % PHASES)) / PHASES).unref(),
    };
    this.#checked.set(name, checked);
  }

  async #probe(name: string, checked: Checked): Promise<void> {
    const { target, record } = checked;
    let changed: boolean;
    try {
      const { error, answer } = await this.#options.prober.send(name, target, ANSWER_TIMEOUT_MS);
      // A tunnel that is down for another reason, or that homeward has no address to ask from, says nothing here.
      if (error === 'port_down' || error === 'no_such_tunnel' || error === 'no_interface_address') return;
      const answered = error === '' ? await answer : undefined;
      changed = answered?.port === name ? record.answered(answered.rttMs) : record.unanswered();
    } catch {
      // No data plane: nothing was sent.
      return;
    }
    if (!changed || this.#checked.get(name) !== checked) return;
    checked.sinceMs = Date.now();
    this.#penalise();
    this.#options.onChange();
  }

  #penalise(): void {
    const penalties: Record<string, number> = {};
    for (const [name, { record }] of this.#checked) {
      const penalty = PENALTIES[record.state];
      if (penalty !== undefined) penalties[name] = penalty;
    }
    this.#options.penalise(penalties);
  }
}

/** To the microsecond. */
function round(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}

/** Whom a tunnel's checks ask; undefined: nobody. */
function healthTarget(tunnel: TunnelConfig): string | undefined {
  if (tunnel.health === null || !tunnel.enabled) return undefined;
  return tunnel.health.target ?? defaultTarget(tunnel);
}
