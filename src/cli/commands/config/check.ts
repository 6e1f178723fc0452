import { Args } from '@oclif/core';
import { auditText, hasFindings } from '../../audit-text.ts';
import { HomewardCommand } from '../../command.ts';
import { type CheckedConfig, cliServices } from '../../services.ts';

export default class ConfigCheck extends HomewardCommand {
  static override summary = 'Check a configuration file, without touching a running gateway.';
  static override description =
    `Prints a line for everything that is wrong, with its place in the file, and exits with 2. Whether the
interfaces and addresses exist on this host is found out by "homeward run". Says also which addresses several sites
declare, as "homeward audit" does of what runs.`;
  static override examples = ['<%= config.bin %> config check /etc/homeward/homeward.yaml'];
  static override args = {
    file: Args.string({ required: true, description: 'The configuration.' }),
  };

  async run(): Promise<{ ok: true } & CheckedConfig> {
    const { args } = await this.parse(ConfigCheck);
    const checked = await cliServices().checkConfig(args.file);
    for (const notice of checked.notices) this.log(notice);
    const { sites, tunnels, egresses, audit } = checked;
    if (hasFindings(audit)) this.log(`\n${auditText(audit)}\n`);
    this.log(`${args.file} is right: ${sites} sites, ${tunnels} tunnels, ${egresses} egresses.`);
    return { ok: true, ...checked };
  }
}
