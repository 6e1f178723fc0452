import { confirmConfig } from '../../../api/client/config.ts';
import type { RevisionBody } from '../../../api/schemas/config.ts';
import { HomewardCommand } from '../../command.ts';
import { CONNECTION_FLAGS } from '../../connection.ts';

export default class ConfigConfirm extends HomewardCommand {
  static override summary = 'Keep the configuration that "config apply --confirm" has tried out.';
  static override examples = ['<%= config.bin %> config confirm'];
  static override flags = CONNECTION_FLAGS;

  async run(): Promise<RevisionBody> {
    const { flags } = await this.parse(ConfigConfirm);
    const revision = await confirmConfig(await this.connect(flags));
    this.log(`Revision ${revision.number} stays.`);
    return revision;
  }
}
