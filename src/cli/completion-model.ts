/**
 * What a shell can complete: every command with its flags and arguments, as oclif knows them. The scripts of
 * `completion-scripts.ts` are written from this, so that they cannot miss a command.
 */
import type { Interfaces } from '@oclif/core';

/** What stands behind a flag or as an argument. */
export type ValueKind =
  | { readonly kind: 'choice'; readonly values: readonly string[] }
  | { readonly kind: 'names'; readonly of: NameKind }
  | { readonly kind: 'file' }
  | { readonly kind: 'any' };

/** Names that a running gateway knows: `homeward completion names`. */
export type NameKind = 'tunnels' | 'sites' | 'plugins';

export interface FlagModel {
  /** With its dashes. */
  readonly flag: string;
  readonly summary: string;
  /** null: it takes no value. */
  readonly value: ValueKind | null;
}

export interface CommandModel {
  /** Words: `tunnels add`; a topic has no flags. */
  readonly words: string;
  readonly summary: string;
  readonly flags: readonly FlagModel[];
  readonly argument: ValueKind | null;
}

/** All commands and topics, in alphabetical order. Hidden ones are left out. */
export function completionModel(config: Interfaces.Config): CommandModel[] {
  const commands = config.commands
    .filter(({ hidden }) => hidden !== true)
    .map((command): CommandModel => {
      const argument = Object.values(command.args ?? {})[0];
      return {
        words: command.id.replaceAll(':', ' '),
        summary: firstLine(command.summary),
        flags: [
          ...Object.entries(command.flags ?? {}).map(
            ([name, flag]): FlagModel => ({
              flag: `--${name}`,
              summary: firstLine(flag.summary ?? flag.description),
              value: flag.type === 'boolean' ? null : valueBehind(name, flag.options, flag.helpValue),
            }),
          ),
          { flag: '--help', summary: 'Show help.', value: null },
        ],
        argument: argument === undefined ? null : valueBehind(argument.name, argument.options, undefined),
      };
    });
  const topics = [
    ...new Set(commands.flatMap(({ words }) => (words.includes(' ') ? [words.split(' ')[0]!] : []))),
  ]
    .filter((topic) => !commands.some(({ words }) => words === topic))
    .map((words): CommandModel => {
      const topic = config.topics.find(({ name }) => name === words);
      return { words, summary: firstLine(topic?.description), flags: [], argument: null };
    });
  return [...commands, ...topics].sort((one, other) => (one.words < other.words ? -1 : 1));
}

/** What may follow these words: the next words, each with the summary of what it begins. */
export function nextWords(
  model: readonly CommandModel[],
  words: string,
): { word: string; summary: string }[] {
  const start = words === '' ? '' : `${words} `;
  return model
    .filter((command) => command.words.startsWith(start) && command.words !== words)
    .map((command) => ({ word: command.words.slice(start.length), summary: command.summary }))
    .filter(({ word }) => !word.includes(' '));
}

const NAMES: Readonly<Record<string, NameKind>> = {
  tunnel: 'tunnels',
  'from-tunnel': 'tunnels',
  site: 'sites',
  plugin: 'plugins',
};
const FILES = ['file', 'config', 'socket', 'output', 'token-file', 'ca-file'];

function valueBehind(
  name: string,
  options: readonly string[] | undefined,
  helpValue: string | readonly string[] | undefined,
): ValueKind {
  if (options !== undefined && options.length > 0) return { kind: 'choice', values: options };
  const names = NAMES[name];
  if (names !== undefined) return { kind: 'names', of: names };
  if (FILES.includes(name) || helpValue === 'FILE' || helpValue === 'PATH') return { kind: 'file' };
  return { kind: 'any' };
}

function firstLine(text: string | undefined): string {
  return (text ?? '').split('\n')[0]!;
}
