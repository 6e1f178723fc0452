/**
 * What all commands share: `--json`, and errors as one or more plain lines (or as `{ "error": ... }`) with the
 * exit status 1, or 2 for wrong usage or configuration.
 */
import { Command, Flags } from '@oclif/core';
import { ApiClient, ApiError } from '../api/client.ts';
import { cliServices } from './services.ts';

/** Failed. */
export const EXIT_FAILED = 1;
/** Wrong usage or configuration. */
export const EXIT_USAGE = 2;

/** Flags of commands that speak to a running gateway. */
export const CONNECTION_FLAGS = {
  config: Flags.string({
    helpValue: 'FILE',
    summary: 'Take the socket from this configuration, where it sets api.socket.',
    exclusive: ['socket'],
  }),
  socket: Flags.string({ helpValue: 'PATH', summary: "The gateway's API socket." }),
  timeout: Flags.string({
    helpValue: 'DURATION',
    summary: 'How long to wait for an answer.',
    default: '30s',
    parse: async (text) => {
      if (cliServices().readDuration(text)) return text;
      throw Object.assign(
        new Error(`--timeout: ${text} is not a duration above zero; write one such as 30s`),
        {
          exitStatus: EXIT_USAGE,
        },
      );
    },
  }),
};

interface ReportedError {
  readonly code: string;
  readonly message: string;
  readonly problems?: unknown;
}

export abstract class HomewardCommand extends Command {
  static override enableJsonFlag = true;

  /** A client for the gateway that the {@link CONNECTION_FLAGS} name. */
  protected async connect(flags: {
    config?: string | undefined;
    socket?: string | undefined;
    timeout: string;
  }): Promise<ApiClient> {
    const path = flags.socket ?? (await cliServices().apiSocketPath(flags.config));
    return new ApiClient(path, cliServices().readDuration(flags.timeout)!);
  }

  protected override async catch(error: Error & { exitCode?: number }): Promise<void> {
    // Errors of the argument parser: oclif prints them with the command's usage.
    if ('parse' in error && !this.jsonEnabled()) return super.catch(error);
    process.exitCode = exitStatus(error);
    if (this.jsonEnabled()) this.logJson({ error: reported(error) });
    else process.stderr.write(`${plainMessage(error)}\n`);
  }
}

/** A wrong configuration is told in the same lines, whoever has found it. */
function plainMessage(error: Error): string {
  const problem = error instanceof ApiError ? error.problem : undefined;
  return problem?.code === 'config_invalid' ? problem.detail : error.message;
}

/** Statuses of the API that say that the request or the configuration in it was wrong. */
const USAGE_STATUSES = [400, 413, 415, 422];

/** The exit status that an error stands for. */
export function exitStatus(error: unknown): number {
  if (error instanceof ApiError && error.status !== undefined && USAGE_STATUSES.includes(error.status)) {
    return EXIT_USAGE;
  }
  const { code, exitStatus: explicit } = error as { code?: unknown; exitStatus?: unknown };
  if (typeof explicit === 'number') return explicit;
  if (code === 'config_invalid' || 'parse' in (error as object)) return EXIT_USAGE;
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
