/**
 * What a start would say of a configuration on this host, without touching anything: for `config check`. A gateway that
 * runs here is not disturbed, and not asked.
 *
 * The answer is the compiler's (`compile/host-findings.ts`), which a start asks with the same tolerance. What only doing
 * it shows stays open: no memory left, a socket or port that somebody else has.
 */
import { compilePlan, needsHostRules, routeQueries } from './compile/compile.ts';
import type { Config } from './config/config.ts';
import { formatProblem } from './config/errors.ts';
import { collectFacts } from './host/collect-facts.ts';
import { CommandError } from './host/command.ts';
import { Identities } from './identities.ts';
import { collectIpsecFacts } from './ipsec/ipsec-facts.ts';

/** What is not refused. */
export interface HostCheck {
  /** Why ports would be down, a line each. */
  readonly down: readonly string[];
  /** Worth knowing, a line each. */
  readonly notices: readonly string[];
}

/**
 * Compares a configuration with this host.
 *
 * @param strict as `run --strict`: what the host lacks is refused, too
 * @throws ConfigError for what a start would refuse; in a strict check CommandError if the host cannot be looked at.
 */
export async function checkHost(config: Config, strict: boolean): Promise<HostCheck> {
  try {
    const looked = await collectFacts(routeQueries(config), needsHostRules(config));
    const facts = { ...looked, ipsec: collectIpsecFacts(config) };
    const tolerate = strict ? 'nothing' : 'lacks';
    const { problems, notices } = compilePlan(config, facts, new Identities(), { tolerate });
    return { down: problems.map(formatProblem), notices: notices.map(formatProblem) };
  } catch (error) {
    if (strict || !(error instanceof CommandError)) throw error;
    return { down: [], notices: [`${config.source.file}: not compared with this host: ${error.message}`] };
  }
}
