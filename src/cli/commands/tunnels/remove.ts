import { Args, Flags } from '@oclif/core';
import { removeTunnel } from '../../../api/client/tunnel-changes.ts';
import type { AppliedBody } from '../../../api/schemas/config.ts';
import { HomewardCommand } from '../../command.ts';
import { CHANGE_FLAGS, changeMembers, describeApplied } from '../../config-change.ts';
import { CONNECTION_FLAGS } from '../../connection.ts';

export default class TunnelsRemove extends HomewardCommand {
  static override summary = 'Remove a tunnel from the configuration, at once.';
  static override description = 'Comments and everything else in the configuration stay as they are.';
  static override examples = [
    '<%= config.bin %> tunnels remove paris-gre',
    '<%= config.bin %> tunnels remove paris-gre --with-site --confirm 10m',
  ];
  static override args = { tunnel: Args.string({ required: true, description: 'Its name.' }) };
  static override flags = {
    ...CONNECTION_FLAGS,
    ...CHANGE_FLAGS,
    'with-site': Flags.boolean({ summary: 'If the site has no other tunnel, remove it too.' }),
  };

  async run(): Promise<AppliedBody> {
    const { args, flags } = await this.parse(TunnelsRemove);
    const dryRun = flags['dry-run'];
    const client = await this.connect(flags);
    const applied = await removeTunnel(client, args.tunnel, flags['with-site'], changeMembers(flags), dryRun);
    for (const line of describeApplied(applied)) this.log(line);
    return applied;
  }
}
