/** Every command that oclif knows has an example in its help, and every example, also in the documentation, is one that it takes. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { type Command, Config, Parser } from '@oclif/core';
import { readDuration, readSize } from '../control/config/units.ts';
import { oclifOptions } from './cli.ts';
import { type CliServices, provideServices } from './services.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const PROGRAM = '<%= config.bin %>';

/** The words behind `homeward` in a line of shell, up to a pipe or a redirection; undefined: it is not called there. */
function callIn(line: string): string[] | undefined {
  const call = /<%= config\.bin %>((?: +(?:'[^']*'|"[^"]*"|[^\s|<>)'"]+))*)/.exec(line)?.[1];
  return call?.match(/'[^']*'|"[^"]*"|\S+/g)?.map((word) => word.replace(/^(['"])(.*)\1$/, '$2'));
}

function exampleLines({ examples = [] }: Command.Loadable): string[] {
  return examples.map((example) => (typeof example === 'string' ? example : example.command));
}

test('every command has an example that calls it', async () => {
  const config = await Config.load(oclifOptions());
  assert.ok(config.commands.length > 30);
  for (const command of config.commands) {
    const words = command.id.replaceAll(':', ' ');
    const calls = exampleLines(command).map((line) => callIn(line)?.join(' ') ?? '');
    assert.ok(
      calls.some((call) => call === words || call.startsWith(`${words} `)),
      `${words} has no example`,
    );
  }
});

/** That the command line takes these words. */
async function takes(config: Config, words: readonly string[], where: string): Promise<void> {
  const called = [2, 1]
    .map((count) => words.slice(0, count).join(':'))
    .find((candidate) => config.findCommand(candidate) !== undefined);
  assert.ok(called !== undefined, `${where}: there is no such command`);
  const { flags, args, baseFlags, strict, enableJsonFlag } = await config.findCommand(called)!.load();
  const json = enableJsonFlag ? { json: { type: 'boolean' as const } } : {};
  const input = { flags: { ...baseFlags, ...flags, ...json } as never, args: args as never, strict };
  await assert.doesNotReject(
    Parser.parse(words.slice(called.split(':').length), { ...input, context: {} as never }),
    where,
  );
}

test('every example is right', async () => {
  provideServices({ readDuration, readSize } as CliServices);
  const config = await Config.load(oclifOptions());
  for (const { id, ...command } of config.commands) {
    for (const line of exampleLines({ id, ...command })) {
      const words = callIn(line);
      assert.ok(words !== undefined, `${id}: ${line}`);
      await takes(config, words, `${id}: ${line}`);
    }
  }
});

test('every command in the documentation is right', async () => {
  provideServices({ readDuration, readSize } as CliServices);
  const config = await Config.load(oclifOptions());
  const docs = readdirSync(join(ROOT, 'docs')).filter((name) => name.endsWith('.md'));
  const pages = ['README.md', 'CONTRIBUTING.md', ...docs.map((name) => `docs/${name}`)];
  const plugins = readdirSync(join(ROOT, 'plugins'));
  let checked = 0;
  for (const page of pages) {
    const text = readFileSync(join(ROOT, page), 'utf8');
    for (const [, block] of text.matchAll(/```sh\n(.*?)```/gs)) {
      for (const line of block!.replaceAll('\\\n', ' ').split('\n')) {
        const bare = line
          .replace(/ +#.*$/, '')
          .replace(/(?:^|(?<= ))(?:scripts\/|\/usr\/bin\/)?homeward(?= )/, PROGRAM);
        const words = callIn(bare);
        // Commands of plugins are known to a gateway that runs them.
        if (words === undefined || words.length === 0 || plugins.includes(words[0]!)) continue;
        await takes(config, words, `${page}: ${line}`);
        checked++;
      }
    }
  }
  assert.ok(checked > 30, `${checked} commands`);
});
