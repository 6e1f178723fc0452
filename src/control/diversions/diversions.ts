/**
 * The diversions of plugins that run: who is ready, and what their control halves are given.
 *
 * ```
 *  namespace made ──► diversionMade ──► proxy begun ──► ready() ──► port enabled, flows are diverted
 *       ▲                                                 │
 *       │   somebody deleted it                           ├── gone()                  the proxy has ended
 *       └─────────────────────────────────────────────────┴── the control half ends   ──► port disabled: dropped
 * ```
 *
 * Nobody is ready whose control half has not said so of the namespace that stands now, and nobody after a restart of control.
 *
 * Neighbours: `../plugins/control-halves.ts` (opens and closes), `../host/namespaces.ts`, `../running-plan.ts` (enables ports).
 */
import type { DivertedRequest } from '../../dataplane/plugin-messages.ts';
import type { DivertedFlow, PluginDiversion, PluginDiversionManifest } from '../../plugin/diversion.ts';
import { DIVERSION_PROXY, siteSource } from '../../plugin/diversion-addresses.ts';
import { diversionDevice, diversionNamespace, diversionPort } from '../diversion-names.ts';
import type { Logger } from '../runtime/logger.ts';

/** What this needs of a gateway. */
export interface DiversionHost {
  /** See `Namespaces.generation`. */
  generation(device: string): number;
  /** Why it cannot be made; undefined: nothing is in the way. */
  refusal(device: string): string | undefined;
  /** Asks the data plane; null: there is no such flow, or no data plane. */
  lookup(request: DivertedRequest): Promise<DivertedFlow | null>;
  /** Another proxy is ready, or is not any more: ports have to follow. */
  onChange(): void;
  /** Ends whoever runs in a namespace. */
  endProcesses(namespace: string): Promise<void>;
  readonly logger: Logger;
  /** Inode of our network namespace. */
  readonly instance: number;
}

export interface DiversionStatus {
  readonly name: string;
  readonly state: 'ready' | 'gone';
  /** Why it is gone; null while it is ready. */
  readonly reason: string | null;
  readonly namespace: string;
  /** Where its proxy listens; null: not for this protocol. */
  readonly tcp: number | null;
  readonly udp: number | null;
}

const NOT_YET = 'its control half has not said that it is ready';

/** The diversions of one control half, while that lives. */
export class OpenDiversions {
  readonly #host: DiversionHost;
  readonly #plugin: string;
  readonly #declared: readonly PluginDiversionManifest[];
  readonly #changed: (port: string, isReady: boolean, reason: string) => void;
  /** By name: generation of the namespace that the control half knows of. */
  readonly #told = new Map<string, number>();
  /** By name, of those that are not ready: why. */
  readonly #reasons = new Map<string, string>();
  #isOpen = true;

  constructor(
    host: DiversionHost,
    plugin: string,
    declared: readonly PluginDiversionManifest[],
    changed: (port: string, isReady: boolean, reason: string) => void,
  ) {
    this.#host = host;
    this.#plugin = plugin;
    this.#declared = declared;
    this.#changed = changed;
    for (const { name } of declared) this.#reasons.set(name, NOT_YET);
  }

  get statuses(): readonly DiversionStatus[] {
    return this.#declared.map(({ name, tcp = null, udp = null }) => {
      const reason = this.#reasons.get(name) ?? null;
      const state = reason === null ? 'ready' : 'gone';
      return { name, state, reason, namespace: this.#namespace(name), tcp, udp };
    });
  }

  /** What `environment.diversion` answers. @throws Error for one that the manifest does not declare */
  of(name: string): PluginDiversion {
    const declared = this.#declared.find((candidate) => candidate.name === name);
    if (declared === undefined) {
      const names = this.#declared.map((candidate) => candidate.name).join(', ');
      throw new Error(`the manifest declares no diversion ${name}; it declares ${names || 'none'}`);
    }
    const port = diversionPort(this.#plugin, name);
    return {
      name,
      namespace: this.#namespace(name),
      addresses: DIVERSION_PROXY,
      tcp: declared.tcp ?? null,
      udp: declared.udp ?? null,
      sourceFor: (space) => ({ ipv4: siteSource(space, 'ipv4'), ipv6: siteSource(space, 'ipv6') }),
      lookup: async (protocol, address, sourcePort) =>
        (await this.#host.lookup({ type: 'diverted', port, protocol, address, sourcePort })) ?? undefined,
      ready: () => this.#set(name, undefined),
      gone: (reason) => this.#set(name, reason),
    };
  }

  /**
   * Those whose namespace the control half does not know of yet: made, or made anew. Nobody runs in them, and none
   * of them is ready.
   */
  async untold(): Promise<readonly string[]> {
    const names: string[] = [];
    for (const { name } of this.#declared) {
      const device = diversionDevice(diversionPort(this.#plugin, name));
      const generation = this.#host.generation(device);
      const refusal = this.#host.refusal(device);
      if (refusal !== undefined) this.#set(name, `its namespace cannot be made: ${refusal}`);
      if (generation === 0 || this.#told.get(name) === generation) continue;
      this.#told.set(name, generation);
      this.#set(name, NOT_YET);
      await this.#host.endProcesses(this.#namespace(name));
      names.push(name);
    }
    return names;
  }

  /** The control half has ended: none is ready any more, and whoever it has left in the namespaces is ended. */
  async close(): Promise<void> {
    this.#isOpen = false;
    for (const { name } of this.#declared) {
      this.#note(name, 'its control half has ended');
      await this.#host.endProcesses(this.#namespace(name));
    }
  }

  #namespace(name: string): string {
    return diversionNamespace(diversionDevice(diversionPort(this.#plugin, name)), this.#host.instance);
  }

  /** What an ended control half says counts no more. `reason`: undefined for ready. */
  #set(name: string, reason: string | undefined): void {
    if (this.#isOpen) this.#note(name, reason);
  }

  #note(name: string, reason: string | undefined): void {
    if (this.#reasons.get(name) === reason) return;
    if (reason === undefined) this.#reasons.delete(name);
    else this.#reasons.set(name, reason);
    if (this.#isOpen && reason?.startsWith('its namespace') === true)
      this.#host.logger.warn({ diversion: diversionPort(this.#plugin, name) }, reason);
    this.#changed(diversionPort(this.#plugin, name), reason === undefined, reason ?? '');
  }
}

export class Diversions {
  readonly #host: DiversionHost;
  readonly #ready = new Set<string>();

  constructor(host: DiversionHost) {
    this.#host = host;
  }

  /** Names of the ports whose proxies are ready. */
  get ready(): ReadonlySet<string> {
    return this.#ready;
  }

  /** For a control half that begins. */
  open(plugin: string, declared: readonly PluginDiversionManifest[]): OpenDiversions {
    return new OpenDiversions(this.#host, plugin, declared, (port, isReady, reason) => {
      if (this.#ready.has(port) === isReady) return;
      if (isReady) this.#ready.add(port);
      else this.#ready.delete(port);
      const { logger } = this.#host;
      if (isReady) logger.info({ diversion: port }, `the proxy of ${port} is ready`);
      else logger.warn({ diversion: port }, `the proxy of ${port} is gone: ${reason}; its flows are dropped`);
      this.#host.onChange();
    });
  }
}
