import { Args } from '@oclif/core';
import { applyConfig } from '../../../api/client/config.ts';
import type { AppliedBody } from '../../../api/schemas/config.ts';
import { HomewardCommand } from '../../command.ts';
import { CHANGE_FLAGS, changeMembers, describeApplied, readConfigText } from '../../config-change.ts';
import { CONNECTION_FLAGS } from '../../connection.ts';

export default class ConfigApply extends HomewardCommand {
  static override summary = 'Run another configuration, without a restart.';
  static override description =
    `Whole or not at all: if anything fails, the former configuration runs on. Tunnels that do not change lose no
packet. The text also becomes the gateway's configuration file.`;
  static override examples = [
    '<%= config.bin %> config apply /etc/homeward/homeward.yaml',
    '<%= config.bin %> config apply new.yaml --confirm 10m --comment "second tunnel for paris"',
    'ssh admin@host cat new.yaml | <%= config.bin %> config apply - --dry-run',
  ];
  static override args = {
    file: Args.string({ required: true, description: 'The configuration; - is the standard input.' }),
  };
  static override flags = { ...CONNECTION_FLAGS, ...CHANGE_FLAGS };

  async run(): Promise<AppliedBody> {
    const { args, flags } = await this.parse(ConfigApply);
    const client = await this.connect(flags);
    const body = { ...readConfigText(args.file), ...changeMembers(flags) };
    const applied = await applyConfig(client, body, flags['dry-run']);
    for (const line of describeApplied(applied)) this.log(line);
    return applied;
  }
}
