/**
 * In which state every tunnel and every egress is, why, and since when: the one place that says so, to the API, the
 * metrics, the log and the events.
 *
 * ```
 *  plan, configuration ─┐
 *  flow memory ─────────┤                     ┌─► of(): status, metrics
 *  connections (IKE) ───┼─► look ── judge ────┼─► a line of the log for each change
 *  what the host lacks ─┤     once a second,  └─► an event for each change
 *  health checks ───────┘     and when one of them says that it has changed
 * ```
 *
 * The data plane is not asked: what it knows of its ports lies in the flow memory. A port that becomes another one
 * (other ends, another site) begins anew; one that is gone leaves nothing here.
 *
 * Neighbours: `judge.ts`, `gateway.ts` (the owner).
 */
import { type Counters, PORT_NEXT_HOPS, PORT_UP } from '../../flow/counters.ts';
import type { Plan, PlanPort } from '../../pipeline/plan.ts';
import type { PortCondition, PortState } from '../../tunnel/port-state.ts';
import type { FamilyAddresses } from '../config/config.ts';
import { familyKey } from '../config/ip.ts';
import type { ControlEvents } from '../events.ts';
import type { TunnelHealthStatus } from '../health/tunnel-health.ts';
import type { Logger } from '../runtime/logger.ts';
import { type Judgement, judgePort } from './judge.ts';

const INTERVAL_MS = 1000;
/** Another reason for the same state is told at most that often: strangers may be behind it. */
const REASON_INTERVAL_MS = 5000;

/** Where the findings come from. */
export interface PortStateSources {
  readonly plan: () => Plan | undefined;
  /** What the data plane tells; undefined while none runs the plan. */
  readonly counters: () => Counters | undefined;
  /** Of a tunnel. */
  readonly connection: (tunnel: string) => PortCondition | undefined;
  readonly health: (tunnel: string) => TunnelHealthStatus | null;
  /** What the host lacks for a tunnel or an egress. */
  readonly lack: (role: PlanPort['role'], name: string) => string | undefined;
}

export interface PortStatesOptions extends PortStateSources {
  readonly logger: Logger;
  readonly events: ControlEvents;
  readonly now?: () => number;
}

interface Entry {
  /** What makes it this port and no other. */
  readonly identity: string;
  readonly role: PlanPort['role'];
  condition: PortCondition;
  /** What log and events have of it. */
  told: Judgement;
  toldAtMs: number;
}

const FIRST: Judgement = { state: 'configured', reason: null };

export class PortStates {
  readonly #options: PortStatesOptions;
  readonly #now: () => number;
  readonly #entries = new Map<string, Entry>();
  readonly #timer: NodeJS.Timeout;
  #stopped = false;

  constructor(options: PortStatesOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#timer = setInterval(() => this.look(), INTERVAL_MS).unref();
  }

  /** As of the last look; undefined: the plan has no such port. */
  of(port: string): PortCondition | undefined {
    return this.#entries.get(port)?.condition;
  }

  /** Looks at everything now, and tells what has changed. */
  look(): void {
    const current = this.#options.plan();
    if (current === undefined || this.#stopped) return;
    const counters = this.#options.counters();
    const devices = new Map(current.devices.map(({ index, name }) => [index, name]));
    const names = new Set(current.ports.map(({ name }) => name));
    for (const name of this.#entries.keys()) if (!names.has(name)) this.#remove(name);
    for (const port of current.ports) this.#judge(port, devices.get(port.link.device) ?? '', counters);
  }

  /** Looks no more: what ends is not told as a change of every port. */
  stop(): void {
    this.#stopped = true;
    clearInterval(this.#timer);
  }

  #judge(port: PlanPort, device: string, counters: Counters | undefined): void {
    const { connection, health, lack } = this.#options;
    const { name, role, index } = port;
    const entry = this.#entryOf(port);
    const isTunnel = role === 'tunnel';
    const { state, reason } = judgePort(
      {
        isEnabled: port.enabled,
        isForwarded: counters !== undefined,
        connection: isTunnel ? connection(name) : undefined,
        isOpen: counters?.port(index, PORT_UP) === 1,
        device,
        lack: lack(role, name),
        nextHops: nextHopsOf(port),
        nextHopBits: counters?.port(index, PORT_NEXT_HOPS) ?? 0,
        health: isTunnel ? health(name) : null,
      },
      entry.condition,
    );
    const { condition } = entry;
    if (state !== condition.state || reason !== condition.reason) {
      const sinceMs = state === condition.state ? condition.sinceMs : this.#now();
      entry.condition = { state, reason, sinceMs };
    }
    this.#tell(name, entry);
  }

  #entryOf({ name, role, index, generation }: PlanPort): Entry {
    const identity = `${role} ${index} ${generation}`;
    const known = this.#entries.get(name);
    if (known?.identity === identity) return known;
    const nowMs = this.#now();
    const entry: Entry = {
      identity,
      role,
      condition: { ...FIRST, sinceMs: nowMs },
      // Under this name there was another one.
      told: known?.told ?? FIRST,
      toldAtMs: nowMs,
    };
    this.#entries.set(name, entry);
    if (known === undefined) this.#publish(name, entry, null, entry.condition);
    return entry;
  }

  #tell(name: string, entry: Entry): void {
    const { condition, told, role } = entry;
    const { state, reason } = condition;
    const nowMs = this.#now();
    if (state === told.state) {
      if (reason === told.reason || nowMs - entry.toldAtMs < REASON_INTERVAL_MS) return;
    }
    entry.told = { state, reason };
    entry.toldAtMs = nowMs;
    const level = state === 'down' || state === 'degraded' ? 'warn' : 'info';
    const text = `${name} is ${state}${reason === null ? '' : `: ${reason}`}`;
    this.#options.logger[level]({ [role]: name, state, former: told.state }, text);
    this.#publish(name, entry, told.state, condition);
  }

  #remove(name: string): void {
    const entry = this.#entries.get(name)!;
    this.#entries.delete(name);
    this.#options.logger.info({ [entry.role]: name, former: entry.told.state }, `${name} is gone`);
    this.#publish(name, entry, entry.told.state, null);
  }

  #publish(port: string, { role }: Entry, former: PortState | null, now: PortCondition | null): void {
    const state = now?.state ?? null;
    this.#options.events.publish({
      type: 'port_state',
      port,
      role,
      former,
      state,
      reason: now?.reason ?? null,
      since: now === null ? null : new Date(now.sinceMs).toISOString(),
    });
  }
}

/** Those that its own packets need, or those of the tunnel around them. */
function nextHopsOf({ link }: PlanPort): FamilyAddresses {
  if (link.kind === 'ethernet') return link.nextHop;
  if (link.kind === 'ip' || link.nextHop === undefined) return {};
  return { [familyKey(link.nextHop)]: link.nextHop };
}
