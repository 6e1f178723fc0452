/**
 * What all commands share: `--json`, and errors as one or more plain lines (or as `{ "error": ... }`) with the
 * exit status 1, or 2 for wrong usage or configuration.
 */
import { Command } from '@oclif/core';
import { ApiClient, ApiError } from '../api/client.ts';
import { type ConnectionFlagValues, endpointOf } from './connection.ts';
import { cliServices } from './services.ts';
import { EXIT_FAILED, EXIT_USAGE, wrongUsage } from './wrong-usage.ts';

interface ReportedError {
  readonly code: string;
  readonly message: string;
  readonly problems?: unknown;
}

export abstract class HomewardCommand extends Command {
  static override enableJsonFlag = true;

  /** A client for the gateway that the flags of `connection.ts` name. */
  protected async connect(flags: ConnectionFlagValues): Promise<ApiClient> {
    return new ApiClient(await endpointOf(flags), cliServices().readDuration(flags.timeout)!);
  }

  protected override async catch(error: Error & { exitCode?: number }): Promise<void> {
    process.exitCode = exitStatus(error);
    const told = ofTheParser(error) ? this.#wrongUsage(error) : error;
    if (this.jsonEnabled()) this.logJson({ error: reported(told) });
    else process.stderr.write(`${plainMessage(told)}\n`);
  }

  /** Without colours, whose making takes seconds for thousands of flows. */
  override logJson(json: unknown): void {
    process.stdout.write(`${JSON.stringify(json, null, 2)}\n`);
  }

  /** What oclif says of wrong arguments, as one line like all others, with the way to the right ones. */
  #wrongUsage(error: Error): Error {
    const text = error.message
      .replace(/\n?See more help with --help$/, '')
      .replace(/^The following errors? occurred:\s*/, '')
      .replace(/^Parsing (--[\w-]+)\s+(?:--[\w-]+: )?/, '$1: ')
      .replace(/:\n\s*/, ': ')
      .replaceAll(/\s*\n\s*/g, '; ')
      .replace(/^Missing 1 required arg: (\S+)\s+(.*?)\.?$/, 'Missing argument: $1 ($2)')
      .replaceAll('<%= config.bin %>', 'homeward');
    const command = (this.id ?? '').replaceAll(':', ' ');
    return wrongUsage(`${text}; see "homeward ${command} --help"`);
  }
}

/** Whether oclif's parser found the arguments wrong: by itself, or by what a flag or an argument made of its value. */
function ofTheParser(error: Error): boolean {
  return 'parse' in error || /^(?:Parsing --|Expected an integer )/.test(error.message);
}

/** A wrong configuration is told in the same lines, whoever has found it. */
function plainMessage(error: Error): string {
  const problem = error instanceof ApiError ? error.problem : undefined;
  return problem?.code === 'config_invalid' ? problem.detail : error.message;
}

/** Statuses of the API that say that the request or the configuration in it was wrong. */
const USAGE_STATUSES = [400, 413, 415, 422];

/** The exit status that an error stands for. A name that the gateway does not know is wrong usage, wherever it stands. */
export function exitStatus(error: unknown): number {
  if (error instanceof ApiError && error.status !== undefined) {
    const names = error.problem?.code.startsWith('no_such_') === true;
    if (names || USAGE_STATUSES.includes(error.status)) return EXIT_USAGE;
  }
  const { code, exitStatus: explicit } = error as { code?: unknown; exitStatus?: unknown };
  if (typeof explicit === 'number') return explicit;
  if (code === 'config_invalid' || ofTheParser(error as Error)) return EXIT_USAGE;
  return EXIT_FAILED;
}

function reported(error: Error): ReportedError {
  // What the gateway says has codes of its own.
  if (error instanceof ApiError && error.problem !== undefined && error.problem.status < 500) {
    const { code, detail, problems } = error.problem;
    return { code, message: detail, ...(problems === undefined ? {} : { problems }) };
  }
  const { code, problems } = error as { code?: unknown; problems?: unknown };
  const usage = exitStatus(error) === EXIT_USAGE ? 'wrong_usage' : 'failed';
  return {
    code: typeof code === 'string' ? code : usage,
    message: error.message,
    ...(problems === undefined ? {} : { problems }),
  };
}
