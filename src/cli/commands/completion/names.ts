import { Args } from '@oclif/core';
import { listSites, listTunnels } from '../../../api/client/overview.ts';
import { listPlugins } from '../../../api/client/plugins.ts';
import { HomewardCommand } from '../../command.ts';
import { CONNECTION_FLAGS } from '../../connection.ts';

const LISTS = { tunnels: listTunnels, sites: listSites, plugins: listPlugins };

/** For the completion scripts. */
export default class CompletionNames extends HomewardCommand {
  static override hidden = true;
  static override summary = 'Print names that the running gateway knows, one a line.';
  static override examples = ['<%= config.bin %> completion names tunnels'];
  static override args = {
    kind: Args.string({ required: true, options: Object.keys(LISTS), description: 'Of what.' }),
  };
  static override flags = CONNECTION_FLAGS;

  async run(): Promise<{ names: string[] }> {
    const { args, flags } = await this.parse(CompletionNames);
    const client = await this.connect(flags);
    const names = (await LISTS[args.kind as keyof typeof LISTS](client)).map(({ name }) => name);
    for (const name of names) this.log(name);
    return { names };
  }
}
