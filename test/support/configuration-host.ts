/**
 * A configuration file, its history, and a gateway that runs it: a stand-in that can fail. For tests of `control/store/`.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { Config } from '../../src/control/config/config.ts';
import { ControlEvents } from '../../src/control/events.ts';
import type { PlanEffect, Reevaluation } from '../../src/control/live-change.ts';
import type { KeptPlugins } from '../../src/control/plugins/kept-plugins.ts';
import { createLogger } from '../../src/control/runtime/logger.ts';
import type { Applied } from '../../src/control/store/change.ts';
import { Configuration, type RunningGateway } from '../../src/control/store/configuration.ts';
import { chooseConfig, type StartOptions } from '../../src/control/store/starting-config.ts';

export const ONE = 'version: 1   # one\ngateway: { name: one }\n';
export const TWO = 'version: 1   # two\ngateway: { name: two }\n';
export const THREE = 'version: 1\ngateway: { name: three }\n';
export const BY = { by: 'ann', comment: '' };
export const NO_EFFECT: PlanEffect = { flows: [], restartsDataPlane: false };

/** Runs whatever it is told, or fails. */
class StandIn implements RunningGateway {
  readonly events = new ControlEvents();
  readonly ran: string[] = [];
  failure: Error | undefined;
  readonly #plugins: KeptPlugins | undefined;

  constructor(plugins?: KeptPlugins) {
    this.#plugins = plugins;
  }

  /** What happens meanwhile. */
  meanwhile: (name: string) => void = () => {};

  /** Plugins that were read anew, and `all flows` where flows were judged anew. */
  readonly anew: string[] = [];

  async apply(config: Config, readAnew: readonly string[] = []): Promise<PlanEffect> {
    if (this.failure !== undefined) throw this.failure;
    this.anew.push(...readAnew);
    this.meanwhile(config.gateway.name);
    this.ran.push(config.gateway.name);
    this.#plugins?.applied(config);
    return NO_EFFECT;
  }

  async preview(): Promise<PlanEffect> {
    return NO_EFFECT;
  }

  async reevaluate(): Promise<Reevaluation> {
    this.anew.push('all flows');
    return { flows: 9, ended: 2 };
  }
}

/** A file, its history, and one life after the other of a gateway that runs it. */
export class ConfigurationHost {
  readonly directory = mkdtempSync(join(tmpdir(), 'homeward-configuration-'));
  readonly path = join(this.directory, 'homeward.yaml');
  readonly state = join(this.directory, 'state');
  readonly log: string[] = [];
  gateway = new StandIn();
  #configuration: Configuration | undefined;

  constructor(t: TestContext, text = ONE) {
    writeFileSync(this.path, text);
    t.after(async () => {
      await this.stop();
      rmSync(this.directory, { recursive: true, force: true });
    });
  }

  get configuration(): Configuration {
    return this.#configuration!;
  }

  get file(): string {
    return readFileSync(this.path, 'utf8');
  }

  /** Ends the life before, if there was one, and begins another; the name of what was started. */
  async start(options: StartOptions = {}): Promise<string> {
    await this.stop();
    const stream = { write: (line: string) => this.log.push(line) } as unknown as NodeJS.WritableStream;
    const logger = createLogger({ stream });
    const environment = { HOMEWARD_STATE_DIR: this.state };
    const starting = chooseConfig(this.path, logger, { environment, ...options });
    this.gateway = new StandIn(starting.kept);
    starting.kept.applied(starting.loaded.config);
    this.#configuration = new Configuration(this.path, starting, this.gateway, logger);
    return starting.loaded.config.gateway.name;
  }

  async stop(): Promise<void> {
    await this.#configuration?.close();
    this.#configuration = undefined;
  }

  apply(text: string, confirmMs?: number): Promise<Applied> {
    return this.configuration.apply(text, { ...BY, confirmMs });
  }

  /** Numbers, oldest first, with why each was made. */
  revisions(): string[] {
    return this.configuration
      .revisions()
      .map(({ number, cause }) => `${number} ${cause}`)
      .reverse();
  }
}

export function chosen(host: ConfigurationHost): ReturnType<typeof chooseConfig> {
  const environment = { HOMEWARD_STATE_DIR: `${host.state}` };
  const logger = createLogger({ level: 'silent' });
  return chooseConfig(host.path, logger, { environment });
}

export function chosenDirectory(host: ConfigurationHost): string {
  return host.configuration.directory!.slice(host.state.length + 1);
}
