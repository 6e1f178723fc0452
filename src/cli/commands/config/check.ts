import { Args, Flags } from '@oclif/core';
import { auditText, hasFindings } from '../../audit-text.ts';
import { HomewardCommand } from '../../command.ts';
import { type CheckedConfig, cliServices } from '../../services.ts';
import { counted } from '../../table.ts';

export default class ConfigCheck extends HomewardCommand {
  static override summary = 'Check a configuration file, without touching a running gateway.';
  static override description =
    `Says what "homeward run" would say on this host. What that would refuse, in the file or because it does not fit the
host: a line for each, with its place in the file, and status 2. What would only be down, because something is missing
here (interfaces, addresses, routes), is told, with status 0; with --strict, as with "run --strict", it is refused, too.
Says also which addresses several sites declare, as "homeward audit" does of what runs.`;
  static override examples = [
    '<%= config.bin %> config check /etc/homeward/homeward.yaml',
    '<%= config.bin %> config check --strict /etc/homeward/homeward.yaml',
    'ssh admin@host cat new.yaml | <%= config.bin %> config check -',
  ];
  static override flags = {
    strict: Flags.boolean({ summary: 'What is missing on this host is refused, too, as by "run --strict".' }),
  };
  static override args = {
    file: Args.string({ required: true, description: 'The configuration; - is the standard input.' }),
  };

  async run(): Promise<{ ok: true } & CheckedConfig> {
    const { args, flags } = await this.parse(ConfigCheck);
    const checked = await cliServices().checkConfig(args.file, flags.strict);
    for (const notice of checked.notices) this.log(notice);
    const { sites, tunnels, egresses, audit, down } = checked;
    if (down.length > 0) this.log(`Would be down on this host:\n${down.join('\n')}`);
    if (hasFindings(audit)) this.log(`\n${auditText(audit)}\n`);
    const found = [
      counted(sites, 'site'),
      counted(tunnels, 'tunnel'),
      counted(egresses, 'egress', 'egresses'),
    ];
    this.log(`${checked.file} is right: ${found.join(', ')}.`);
    return { ok: true, ...checked };
  }
}
