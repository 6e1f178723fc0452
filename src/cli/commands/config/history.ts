import { configHistory } from '../../../api/client/config.ts';
import type { HistoryBody, RevisionBody } from '../../../api/schemas/config.ts';
import { HomewardCommand } from '../../command.ts';
import { describeCause, describePending } from '../../config-change.ts';
import { CONNECTION_FLAGS } from '../../connection.ts';
import { table } from '../../table.ts';

const HEADER = ['REVISION', 'TIME', 'WHY', 'BY', 'CHANGES', 'COMMENT'];

export default class ConfigHistory extends HomewardCommand {
  static override summary = 'List the configurations that ran, newest first.';
  static override description =
    'A hundred are kept. "by" is what the client said of itself: nobody has checked it.';
  static override examples = [
    '<%= config.bin %> config history',
    '<%= config.bin %> config history --json',
    '<%= config.bin %> config diff --from 11 --to 12',
  ];
  static override flags = CONNECTION_FLAGS;

  async run(): Promise<HistoryBody> {
    const { flags } = await this.parse(ConfigHistory);
    const history = await configHistory(await this.connect(flags));
    this.log(table([HEADER, ...history.revisions.map(cells)]));
    if (history.pending !== null) this.log(`\n${describePending(history.pending)}`);
    return history;
  }
}

function cells(revision: RevisionBody): string[] {
  const { number, time, by, summary, comment } = revision;
  const changes = summary.length > 1 ? `${summary[0]} and ${summary.length - 1} more` : (summary[0] ?? '-');
  const short = changes.length > 60 ? `${changes.slice(0, 57)}...` : changes;
  return [
    String(number),
    `${time.slice(0, 19).replace('T', ' ')}Z`,
    describeCause(revision),
    by === '' ? '-' : by,
    short,
    comment === '' ? '-' : comment,
  ];
}
