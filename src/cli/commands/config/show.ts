import { Flags } from '@oclif/core';
import { showConfig, showRevision } from '../../../api/client/config.ts';
import type { ConfigBody, RevisionTextBody } from '../../../api/schemas/config.ts';
import { HomewardCommand } from '../../command.ts';
import { describePending, revisionNumber } from '../../config-change.ts';
import { CONNECTION_FLAGS } from '../../connection.ts';

export default class ConfigShow extends HomewardCommand {
  static override summary = 'Print the configuration that runs, or an earlier one.';
  static override description =
    'The text goes to the standard output, comments and all; what there is to know of it to the standard error.';
  static override examples = [
    '<%= config.bin %> config show',
    '<%= config.bin %> config show --revision 12 > old.yaml',
  ];
  static override flags = {
    ...CONNECTION_FLAGS,
    revision: Flags.string({ helpValue: 'NUMBER', summary: 'A revision of the history.' }),
  };

  async run(): Promise<ConfigBody | RevisionTextBody> {
    const { flags } = await this.parse(ConfigShow);
    const client = await this.connect(flags);
    if (flags.revision !== undefined) {
      const revision = await showRevision(client, revisionNumber(flags.revision));
      this.log(revision.text.replace(/\n$/, ''));
      return revision;
    }
    const running = await showConfig(client);
    this.log(running.text.replace(/\n$/, ''));
    for (const line of remarks(running)) this.logToStderr(line);
    return running;
  }
}

function remarks({ path, file, pending }: ConfigBody): string[] {
  return [
    ...(file === 'differs'
      ? [`${path} has another text, which does not run; apply it, or put this one back`]
      : []),
    ...(file === 'unreadable' ? [`${path} cannot be read`] : []),
    ...(pending === null ? [] : [describePending(pending)]),
  ];
}
