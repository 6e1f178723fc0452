/**
 * A start, from the file's path to a gateway that runs a configuration and the object that changes it.
 *
 * A configuration that waits for its confirmation and does not start gives way to the one before it: nobody could
 * confirm it.
 *
 * Neighbours: `store/starting-config.ts` (which configuration), `gateway.ts`, `daemon.ts`.
 */
import { Gateway, type GatewayOptions } from './gateway.ts';
import type { Logger } from './runtime/logger.ts';
import type { RuntimeDirectory } from './runtime/runtime-directory.ts';
import { Configuration } from './store/configuration.ts';
import { chooseConfig, previousOf, type StartingConfig, type StartOptions } from './store/starting-config.ts';

export interface StartedGateway {
  readonly gateway: Gateway;
  readonly configuration: Configuration;
}

/**
 * Starts. The caller holds the instance's lock, and closes the configuration before it ends the gateway.
 *
 * @throws ConfigError, HistoryInUseError, and as {@link Gateway.start}; nothing is half set up then.
 */
export async function startGateway(
  configPath: string,
  runtime: RuntimeDirectory,
  logger: Logger,
  options: GatewayOptions & StartOptions,
): Promise<StartedGateway> {
  const chosen = chooseConfig(configPath, logger, options);
  const run = (starting: StartingConfig): Promise<Gateway> =>
    Gateway.start(configPath, starting.loaded.config, runtime, logger, { ...options, kept: starting.kept });
  let starting = chosen;
  let gateway: Gateway;
  try {
    try {
      gateway = await run(starting);
    } catch (error) {
      const previous = previousOf(chosen);
      if (previous === undefined) throw error;
      logger.error(
        { problem: (error as Error).message },
        'a configuration that waits for its confirmation does not start: the one before it runs again',
      );
      starting = previous;
      gateway = await run(previous);
    }
  } catch (error) {
    chosen.history?.close();
    throw error;
  }
  try {
    return { gateway, configuration: new Configuration(configPath, starting, gateway, logger) };
  } catch (error) {
    chosen.history?.close();
    await gateway.undo();
    throw error;
  }
}
