/**
 * What `ip` is asked and told of interfaces: the list of them, and batches of commands, one process each.
 *
 * Neighbours: `command.ts` (runs it), `links.ts`, `made-links.ts`, `tun-devices.ts`, `xfrm-routes.ts`.
 */
import * as z from 'zod';
import { CommandError, runCommand } from './command.ts';

const linkSchema = z.object({
  ifindex: z.int(),
  ifname: z.string(),
  flags: z.array(z.string()),
  mtu: z.int(),
  linkinfo: z.object({ info_kind: z.string().optional() }).optional(),
});

/** An interface, as `ip` shows it. */
export type ShownLink = z.infer<typeof linkSchema>;

/** All interfaces of the namespace, by name. @throws CommandError */
export async function showLinks(): Promise<Map<string, ShownLink>> {
  const json: unknown = JSON.parse(await runCommand('ip', ['-json', '-details', 'link', 'show']));
  const links = z
    .array(z.unknown())
    .parse(json)
    .filter((entry) => typeof entry === 'object' && entry !== null && 'ifname' in entry)
    .map((entry) => linkSchema.parse(entry));
  return new Map(links.map((link) => [link.ifname, link]));
}

/**
 * Runs commands, all of them whatever becomes of those before.
 *
 * @param options `family`: whose routes and rules are meant
 * @throws CommandError if one failed and none may.
 */
export async function ipBatch(
  commands: readonly string[],
  { family = 4, mayFail = false }: { readonly family?: 4 | 6; readonly mayFail?: boolean } = {},
): Promise<void> {
  if (commands.length === 0) return;
  const input = `${commands.join('\n')}\n`;
  const words = [...(family === 6 ? ['-6'] : []), '-force', '-batch', '-'];
  await runCommand('ip', words, { mayFail, input });
}

/** Runs commands that may fail, each for itself. By number, what `ip` said of those that did. */
export async function attemptBatch(commands: readonly string[]): Promise<Map<number, string>> {
  try {
    await ipBatch(commands);
    return new Map();
  } catch (error) {
    if (!(error instanceof CommandError) || error.code !== 'command_failed') throw error;
    // What is said of a command stands in front of the line that names it: `Command failed -:2`.
    const refusals = new Map<number, string>();
    let said: string[] = [];
    for (const line of error.stderr.split('\n')) {
      const number = /^Command failed -:(\d+)$/.exec(line)?.[1];
      if (number === undefined) said.push(line.trim());
      else {
        refusals.set(Number(number) - 1, said.join(' ').trim());
        said = [];
      }
    }
    if (refusals.size === 0) throw error;
    return refusals;
  }
}
