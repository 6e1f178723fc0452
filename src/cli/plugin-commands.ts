/**
 * Commands that plugins declare in their manifests: `homeward PLUGIN VERB` asks a view of the plugin.
 *
 * Those of the plugins that come with homeward are there like any other command, with help and completion. Those of
 * other plugins are known to the gateway that runs them: they are asked for when somebody uses one.
 *
 * A flag becomes the view's parameter of the same name, with `_` for `-`. An answer that has `lines` is shown by them;
 * any other as JSON.
 *
 * Neighbours: `cli.ts` (adds them to the commands), `api/client/plugins.ts`, docs/plugins.md (for authors).
 */
import { type Command, Flags } from '@oclif/core';
import { askPluginView, showPlugin } from '../api/client/plugins.ts';
import { ApiClient, ApiError } from '../api/client.ts';
import type { PluginCommandBody, ViewAnswerBody, ViewParameters } from '../api/schemas/plugins.ts';
import { HomewardCommand } from './command.ts';
import { CONNECTION_FLAGS, type ConnectionFlagValues, endpointOf } from './connection.ts';
import { cliServices } from './services.ts';

/** Commands by verb. */
export type DeclaredCommands = Readonly<Record<string, PluginCommandBody>>;

type CommandClass = Command.Class;

/** The commands of one plugin, by oclif's ids. */
export function pluginCommands(plugin: string, commands: DeclaredCommands): Record<string, CommandClass> {
  return Object.fromEntries(
    Object.entries(commands).map(([verb, declared]) => [
      `${plugin}:${verb}`,
      pluginCommand(plugin, verb, declared),
    ]),
  );
}

/**
 * The commands of a plugin that the running gateway has.
 *
 * @param args the whole command line: its connection flags say which gateway
 * @returns undefined if no gateway can be asked, or it has no such plugin
 */
export async function commandsOfGateway(
  plugin: string,
  args: readonly string[],
): Promise<DeclaredCommands | undefined> {
  if (!/^[a-z][a-z0-9-]*$/.test(plugin)) return undefined;
  try {
    const flags = connectionFlagsIn(args);
    const timeoutMs = cliServices().readDuration(flags.timeout);
    const client = new ApiClient(await endpointOf(flags), timeoutMs ?? 30_000);
    return (await showPlugin(client, plugin)).commands;
  } catch (error) {
    if (error instanceof ApiError || (error as { exitStatus?: unknown }).exitStatus !== undefined) {
      return undefined;
    }
    throw error;
  }
}

function pluginCommand(plugin: string, verb: string, declared: PluginCommandBody): CommandClass {
  return class PluginCommand extends HomewardCommand {
    static override id = `${plugin}:${verb}`;
    static override summary = declared.summary;
    static override description = declared.description;
    static override examples = declared.examples.map((example) =>
      example.replace(/^homeward /, '<%= config.bin %> '),
    );
    static override flags = { ...flagsOf(declared), ...CONNECTION_FLAGS };

    async run(): Promise<ViewAnswerBody> {
      const { flags } = await this.parse(PluginCommand);
      const client = await this.connect(flags as ConnectionFlagValues);
      const answer = await askPluginView(client, plugin, declared.view, parametersOf(declared, flags));
      this.log(textOf(answer));
      return answer;
    }
  } as unknown as CommandClass;
}

function flagsOf({ flags }: PluginCommandBody): Record<string, Command.Flag.Any> {
  return Object.fromEntries(
    Object.entries(flags).map(([name, { summary, type, required, multiple }]) => {
      const common = { summary, required, helpValue: type === 'integer' ? 'NUMBER' : 'TEXT' };
      if (type === 'boolean') return [name, Flags.boolean({ summary })];
      const make = (options: typeof common & { multiple?: true }) =>
        type === 'integer' ? Flags.integer(options as never) : Flags.string(options as never);
      return [name, make(multiple ? { ...common, multiple: true } : common)];
    }),
  ) as Record<string, Command.Flag.Any>;
}

function parametersOf(
  { flags: declared }: PluginCommandBody,
  values: Readonly<Record<string, unknown>>,
): ViewParameters {
  return Object.fromEntries(
    Object.keys(declared).flatMap((name) =>
      values[name] === undefined ? [] : [[name.replaceAll('-', '_'), values[name] as ViewParameters[string]]],
    ),
  );
}

function textOf(answer: ViewAnswerBody): string {
  const lines = (answer as { lines?: unknown } | null)?.lines;
  if (Array.isArray(lines)) return lines.map(String).join('\n');
  return typeof answer === 'string' ? answer : JSON.stringify(answer, null, 2);
}

/** The connection flags among arguments that nobody can parse yet. */
function connectionFlagsIn(args: readonly string[]): ConnectionFlagValues {
  const values: Record<string, string> = {};
  args.forEach((arg, at) => {
    const [, name, value] = /^--([a-z-]+)(?:=(.*))?$/s.exec(arg) ?? [];
    if (name === undefined || !Object.hasOwn(CONNECTION_FLAGS, name)) return;
    const given = value ?? args[at + 1];
    if (given !== undefined) values[name] = given;
  });
  return { timeout: '30s', ...values };
}
