import { Args, Flags } from '@oclif/core';
import { diffConfig, showConfig } from '../../../api/client/config.ts';
import type { ApiClient } from '../../../api/client.ts';
import type { DifferenceBody } from '../../../api/schemas/config.ts';
import { HomewardCommand } from '../../command.ts';
import { describeDifference, readConfigText, revisionNumber } from '../../config-change.ts';
import { CONNECTION_FLAGS } from '../../connection.ts';
import { wrongUsage } from '../../wrong-usage.ts';

export default class ConfigDiff extends HomewardCommand {
  static override summary = 'Show what would change, or what has changed, object by object.';
  static override description =
    `Compares what runs with a file (default: the gateway's configuration file), and says which flows would end. With
--from and --to, revisions of the history.`;
  static override examples = [
    '<%= config.bin %> config diff',
    '<%= config.bin %> config diff new.yaml',
    '<%= config.bin %> config diff --from 11 --to 12',
  ];
  static override args = {
    file: Args.string({ description: 'A configuration; - is the standard input.' }),
  };
  static override flags = {
    ...CONNECTION_FLAGS,
    from: Flags.string({ helpValue: 'NUMBER', summary: 'Compare this revision, instead of what runs.' }),
    to: Flags.string({ helpValue: 'NUMBER', summary: 'With this revision, instead of a file.' }),
  };

  async run(): Promise<DifferenceBody> {
    const { args, flags } = await this.parse(ConfigDiff);
    const client = await this.connect(flags);
    const from = flags.from === undefined ? {} : { from: revisionNumber(flags.from) };
    const to =
      flags.to === undefined
        ? readConfigText(args.file ?? (await ownFile(client)))
        : { to: revisionNumber(flags.to) };
    const difference = await diffConfig(client, { ...from, ...to });
    for (const line of describeDifference(difference)) this.log(line);
    return difference;
  }
}

/** The path of the gateway's configuration file. */
async function ownFile(client: ApiClient): Promise<string> {
  if (client.isLocal) return (await showConfig(client)).path;
  throw wrongUsage('name a file: that of a gateway on the network is not here');
}
