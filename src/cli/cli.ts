/**
 * The command line: starts oclif with the commands of `commands/`, from the sources (types stripped by Node) as
 * from the build.
 */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, extname, join } from 'node:path';
import { flush, handle, type Interfaces, run, settings } from '@oclif/core';
import { exitStatus } from './command.ts';
import commands from './commands/index.ts';
import { commandsOfGateway, type DeclaredCommands, pluginCommands } from './plugin-commands.ts';
import { type CliServices, cliServices, provideServices } from './services.ts';
import { EXIT_USAGE } from './wrong-usage.ts';

/** Runs the command that the arguments name; sets the process's exit status. */
export async function runCli(services: CliServices, args: readonly string[]): Promise<void> {
  provideServices(services);
  addPluginCommands(services.bundledCommands());
  try {
    const words = helpFlag(args);
    await addCommandsOfGateway(words);
    await run(words, oclifOptions());
    flush();
  } catch (error) {
    const unknown = /^command (.+) not found$/.exec((error as Error).message)?.[1];
    if (unknown !== undefined) {
      process.exitCode = EXIT_USAGE;
      process.stderr.write(`${unknownCommand(unknown.split(':'))}\n`);
      return;
    }
    // oclif's own errors say with what status they end: 2 for wrong usage.
    await handle(Object.assign(error as Error, { oclif: { exit: exitStatus(error), ...oclifOf(error) } }));
  }
}

const PLUGIN_TOPICS: Record<string, { description: string }> = {};

/** Commands that plugins declare; homeward's own come first where both have a name. */
function addPluginCommands(plugins: Readonly<Record<string, DeclaredCommands>>): void {
  const own = new Set(Object.keys(commands).map((id) => id.split(':')[0]));
  for (const [plugin, declared] of Object.entries(plugins)) {
    if (own.has(plugin)) continue;
    Object.assign(commands, pluginCommands(plugin, declared));
    PLUGIN_TOPICS[plugin] = { description: `Ask plugin ${plugin}.` };
  }
}

/** A word that is no command may be a plugin that only the running gateway knows. */
async function addCommandsOfGateway(words: readonly string[]): Promise<void> {
  const first = words[0];
  if (first === undefined || Object.keys(commands).some((id) => id.split(':')[0] === first)) return;
  const declared = await commandsOfGateway(first, words);
  if (declared !== undefined) addPluginCommands({ [first]: declared });
}

/** What is wrong with words that are no command: too many for one, or mistyped. */
function unknownCommand(words: readonly string[]): string {
  const known = Object.keys(commands).map((id) => id.replaceAll(':', ' '));
  for (let count = words.length - 1; count > 0; count--) {
    const command = words.slice(0, count).join(' ');
    if (!known.includes(command)) continue;
    const extra = words.slice(count).join(' ');
    return `${command} takes no argument, and was given ${extra}; see "homeward ${command} --help"`;
  }
  const given = words.join(' ');
  const meant = cliServices().nearest(given, known);
  const remedy = meant === undefined ? '"homeward --help" lists them' : `did you mean "homeward ${meant}"?`;
  return `${given} is not a command; ${remedy}`;
}

/** What oclif needs to know of the commands. */
export function oclifOptions(): Interfaces.LoadOptions {
  // Node strips the types: oclif must not look for a transpiler, nor for compiled files beside the sources.
  settings.enableAutoTranspile = false;
  const root = packageRoot(import.meta.dirname);
  const { name, version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const target = join(import.meta.dirname, 'commands', `index${extname(import.meta.filename)}`);
  const pjson = {
    name,
    version,
    type: 'module',
    oclif: {
      bin: 'homeward',
      dirname: 'homeward',
      description: 'A virtual gateway: every reply goes back through the tunnel that its flow came in by.',
      topicSeparator: ' ',
      commands: { strategy: 'explicit', target, identifier: 'default' },
      topics: {
        config: { description: 'Check, change and go back in the configuration.' },
        flows: { description: 'See, explain and end flows.' },
        plugins: { description: 'See, change and make what every new flow runs through.' },
        routes: { description: 'See routes, and where an address leads.' },
        sites: { description: 'See the customer networks.' },
        tunnels: { description: 'See, test and change the connections of the sites.' },
        ...PLUGIN_TOPICS,
      },
    },
  };
  return { root, pjson: pjson as never, userPlugins: false };
}

/** `homeward help tunnels add` is `homeward tunnels add --help`. */
function helpFlag(args: readonly string[]): string[] {
  return args[0] === 'help' ? [...args.slice(1), '--help'] : [...args];
}

function oclifOf(error: unknown): { exit?: number } {
  return (error as { oclif?: { exit?: number } }).oclif ?? {};
}

/** The folder of package.json: above `src/`, or above `dist/`. */
function packageRoot(start: string): string {
  let directory = start;
  while (!existsSync(join(directory, 'package.json'))) {
    const parent = dirname(directory);
    if (parent === directory) throw new Error(`no package.json above ${start}`);
    directory = parent;
  }
  return directory;
}
