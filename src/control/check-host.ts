/**
 * What a configuration lacks on this host, without touching anything: for `config check`. A gateway that runs here is
 * not disturbed, and not asked.
 */
import { compilePlan, routeQueries } from './compile/compile.ts';
import type { Config } from './config/config.ts';
import { formatProblem } from './config/errors.ts';
import { collectFacts } from './host/collect-facts.ts';
import { CommandError } from './host/command.ts';
import { Identities } from './identities.ts';

/**
 * One line for everything that is not as the configuration needs it, or worth knowing.
 *
 * @param strict whether what is missing is an error, too
 * @throws ConfigError in a strict check; CommandError if the host cannot be looked at then.
 */
export async function checkHost(config: Config, strict: boolean): Promise<string[]> {
  try {
    const facts = await collectFacts(routeQueries(config));
    const tolerate = strict ? 'nothing' : 'everything';
    const { problems, notices } = compilePlan(config, facts, new Identities(), { tolerate });
    return [...problems, ...notices].map(formatProblem);
  } catch (error) {
    if (strict || !(error instanceof CommandError)) throw error;
    return [`${config.source.file}: not compared with this host: ${error.message}`];
  }
}
