/**
 * An instance of a plugin's data half: loaded once, and alive for as long as the plugin is configured with this code.
 *
 * ```
 *  load ──► configure, commit ──► importState, if another instance has gone before ──► hooks of the packet's way
 *                ▲                                                                        │
 *                └──── other options, another topology, plugins reload ◄──────────────────┘──► exportState
 * ```
 *
 * Synchronously: the data plane has no event loop to wait in.
 *
 * Neighbours: `plugin-instances.ts` (which instances there are), `plugin/module-loader.ts` (its modules),
 * `plugin-faults.ts` (failures on purpose), `pipeline/plugin-standing.ts` (what the pipeline keeps of it).
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { PlanPlugin } from '../pipeline/plan.ts';
import type { LoadedPlugin } from '../pipeline/plugin-link.ts';
import { PluginStanding } from '../pipeline/plugin-standing.ts';
import {
  type DataHalf,
  type DataHalfFactory,
  type Json,
  PACKET_DROP_FLOW,
  type PluginManifest,
  type PluginPhase,
  STREAM_DROP_FLOW,
  VERDICT_DROP,
} from '../plugin/contract.ts';
import { keptFault, keptOrigin } from '../plugin/kept-plugin.ts';
import { moduleFile } from '../plugin/module-file.ts';
import { PluginFiles } from '../plugin/module-loader.ts';
import { HOOK_LOAD, NO_PLACE } from '../plugin/running-plugin.ts';
import { readThrown } from '../plugin/thrown.ts';
import { untrustedFile } from '../plugin/trusted-files.ts';
import type { PluginCalls } from './plugin-calls.ts';
import { type PluginFault, withFault } from './plugin-faults.ts';

/** What the data plane gives to all plugins. */
export interface PluginHost {
  /** Milliseconds since boot as int32. */
  nowMs(): number;
  /** `topic`: lines of it are limited on their own; may be empty. */
  log(plugin: string, level: 'debug' | 'info' | 'warn' | 'error', message: string, topic: string): void;
  /** Takes a message for a plugin's control half; false if there is no room. */
  send(plugin: string, body: Json): boolean;
}

/** Each is a line of the metrics. */
const MAX_COUNTERS = 256;
const COUNTER_NAME = /^[A-Za-z][\w.:-]{0,63}$/;
/** Of what a plugin says of a verdict, characters. */
const MAX_REASON = 1000;
const LEVELS = ['debug', 'info', 'warn', 'error'] as const;

export class PluginInstance {
  readonly name: string;
  readonly manifest: string;
  readonly version: string;
  readonly phase: PluginPhase;
  half: DataHalf;
  readonly standing: PluginStanding;
  /** Its own, by name. */
  readonly counters: Map<string, number>;
  /** Of everything that its code may be. */
  readonly fingerprint: string;
  /** What it was configured with last, as text. */
  configured = '';
  /** Of the plan that it was configured by last. */
  revision: number;
  /** What it last said of a verdict of its. */
  reason = '';

  /**
   * Loads it; it is not configured yet.
   *
   * @param before the instance that this one replaces: its counters go on
   * @throws Error if there is something wrong with its files
   */
  constructor(
    plugin: PlanPlugin,
    host: PluginHost,
    calls: PluginCalls,
    before: PluginInstance | undefined,
    fault: PluginFault | undefined,
  ) {
    const untrusted = untrustedFile(dirname(plugin.manifest));
    if (untrusted !== undefined) throw new Error(untrusted);
    const folder = dirname(plugin.manifest);
    const damage = keptOrigin(folder) === undefined ? undefined : keptFault(folder);
    if (damage !== undefined)
      throw new Error(`${damage}; "homeward plugins reload ${plugin.name}" takes it anew`);
    const manifest = JSON.parse(readFileSync(plugin.manifest, 'utf8')) as PluginManifest;
    if (manifest.name !== plugin.name) throw new Error(`its manifest names it ${manifest.name}`);
    this.name = plugin.name;
    this.manifest = plugin.manifest;
    this.version = manifest.version;
    this.phase = manifest.phase;
    this.revision = plugin.revision;
    this.fingerprint = codeFingerprint(plugin.manifest);
    this.standing = new PluginStanding(manifest.flow_state_bytes ?? 0);
    this.counters = new Map(before?.counters);
    const file = moduleFile(plugin.manifest, manifest.data);
    if (file === undefined) throw new Error(`there is no file ${manifest.data} beside its manifest`);
    const half = calls.call(plugin.name, NO_PLACE, HOOK_LOAD, () => {
      const module = new PluginFiles(dirname(plugin.manifest)).load(file);
      const create = module.createDataHalf as DataHalfFactory | undefined;
      if (typeof create !== 'function') throw new Error('its data half exports no createDataHalf');
      return create({
        name: this.name,
        log: (level, message, topic) =>
          host.log(
            this.name,
            levelOf(level),
            readThrown(message).text,
            typeof topic === 'string' ? topic : '',
          ),
        counter: (name) => this.#counter(name),
        reason: (text) => {
          if (typeof text === 'string')
            this.reason = text.length > MAX_REASON ? text.slice(0, MAX_REASON) : text;
        },
        nowMs: () => host.nowMs(),
        send: (body) => host.send(this.name, body),
      });
    });
    if (typeof half?.configure !== 'function') throw new Error('its data half has no configure');
    this.half = fault === undefined ? half : withFault(half, fault);
  }

  #counter(name: string): () => void {
    const { counters } = this;
    if (!COUNTER_NAME.test(name))
      throw new Error(
        `a counter ${readThrown(name).text.slice(0, 80)} cannot be; write letters, digits, _ . : and -, at most 64`,
      );
    if (!counters.has(name) && counters.size >= MAX_COUNTERS)
      throw new Error(`it has ${MAX_COUNTERS} counters already; count by fewer names`);
    if (!counters.has(name)) counters.set(name, 0);
    return () => {
      counters.set(name, counters.get(name)! + 1);
    };
  }

  /** Whether a plan's plugin can go on with this instance. */
  serves(plugin: PlanPlugin): boolean {
    if (plugin.manifest !== this.manifest || plugin.version !== this.version) return false;
    if (plugin.revision === this.revision) return true;
    // Whoever was ended in a call, or is full, may be in any state.
    return !this.standing.isTripped && codeFingerprint(plugin.manifest) === this.fingerprint;
  }

  /** It is tripped for good: what it holds may be collected. */
  release(): void {
    this.half = hollow(this.half);
  }

  /** For the chain of a plan. */
  loaded(plugin: PlanPlugin): LoadedPlugin {
    const { name, phase, standing } = this;
    const instance = this;
    return {
      name,
      phase,
      get half() {
        return instance.half;
      },
      standing,
      failurePolicy: plugin.failurePolicy,
      ports: plugin.ports,
      get reason() {
        return instance.reason;
      },
      set reason(text: string) {
        instance.reason = text;
      },
    };
  }
}

/** What it says may be anything. */
function levelOf(level: unknown): (typeof LEVELS)[number] {
  return LEVELS.find((known) => known === level) ?? 'info';
}

/**
 * In place of a half that is gone, and never called: with the hooks that it had for flows, or the next plan would take these
 * for flows that nobody looks at.
 */
function hollow({ packet, stream }: DataHalf): DataHalf {
  return {
    configure: () => () => {},
    flowSetup: () => VERDICT_DROP,
    ...(packet !== undefined && { packet: () => PACKET_DROP_FLOW }),
    ...(stream !== undefined && { stream: () => STREAM_DROP_FLOW }),
  };
}

/** Of the manifest and all modules in its folder. What options name is not code. */
function codeFingerprint(manifest: string): string {
  const hash = createHash('sha256');
  const folder = dirname(manifest);
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort()) {
    if (!/(?:^manifest\.json|\.[cm]?[jt]s)$/.test(name) || /(?:^|\/)node_modules\//.test(name)) continue;
    hash
      .update(name)
      .update('\0')
      .update(readFileSync(join(folder, name)))
      .update('\0');
  }
  return hash.digest('hex');
}
