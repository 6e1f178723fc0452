/** Every command that oclif knows has an example in its help, and every example is one that the command takes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Command, Config, Parser } from '@oclif/core';
import { readDuration, readSize } from '../control/config/units.ts';
import { oclifOptions } from './cli.ts';
import { type CliServices, provideServices } from './services.ts';

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

test('every example is right', async () => {
  provideServices({ readDuration, readSize } as CliServices);
  const config = await Config.load(oclifOptions());
  for (const { id, ...command } of config.commands) {
    for (const line of exampleLines({ id, ...command })) {
      const words = callIn(line);
      assert.ok(words !== undefined, `${id}: ${line}`);
      const called = [2, 1]
        .map((count) => words.slice(0, count).join(':'))
        .find((candidate) => config.findCommand(candidate) !== undefined);
      assert.ok(called !== undefined, `${id}: ${line}: there is no such command`);
      const { flags, args, baseFlags, strict, enableJsonFlag } = await config.findCommand(called)!.load();
      const json = enableJsonFlag ? { json: { type: 'boolean' as const } } : {};
      const input = { flags: { ...baseFlags, ...flags, ...json } as never, args: args as never, strict };
      await assert.doesNotReject(
        Parser.parse(words.slice(called.split(':').length), { ...input, context: {} as never }),
        `${id}: ${line}`,
      );
    }
  }
});
