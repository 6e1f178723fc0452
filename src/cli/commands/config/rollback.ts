import { Args } from '@oclif/core';
import { rollbackConfig } from '../../../api/client/config.ts';
import type { AppliedBody } from '../../../api/schemas/config.ts';
import { HomewardCommand } from '../../command.ts';
import { CHANGE_FLAGS, changeMembers, describeApplied, revisionNumber } from '../../config-change.ts';
import { CONNECTION_FLAGS } from '../../connection.ts';

export default class ConfigRollback extends HomewardCommand {
  static override summary = 'Run an earlier revision of the configuration again.';
  static override description =
    'It becomes a new revision. A change that waits for its confirmation is settled by that.';
  static override examples = [
    '<%= config.bin %> config rollback 12',
    '<%= config.bin %> config rollback 12 --dry-run',
  ];
  static override args = {
    revision: Args.string({
      required: true,
      description: 'Its number, as "<%= config.bin %> config history" shows it.',
    }),
  };
  static override flags = { ...CONNECTION_FLAGS, ...CHANGE_FLAGS };

  async run(): Promise<AppliedBody> {
    const { args, flags } = await this.parse(ConfigRollback);
    const client = await this.connect(flags);
    const body = { revision: revisionNumber(args.revision), ...changeMembers(flags) };
    const applied = await rollbackConfig(client, body, flags['dry-run']);
    for (const line of describeApplied(applied)) this.log(line);
    return applied;
  }
}
