import { Args, Flags } from '@oclif/core';
import { HomewardCommand } from '../../command.ts';
import { type CreatedPlugin, cliServices } from '../../services.ts';

export default class PluginsCreate extends HomewardCommand {
  static override summary = 'Begin a plugin of your own: a manifest, a data half in TypeScript, a test.';
  static override description =
    `Writes a folder that works as it is: "node --test" passes in it, and a gateway can load it. The guide is docs/plugins.md
of homeward.`;
  static override examples = [
    '<%= config.bin %> plugins create limiter',
    '<%= config.bin %> plugins create limiter --dir /opt/plugins/limiter',
  ];
  static override args = {
    name: Args.string({ required: true, description: 'Its name: lower-case letters, digits and -.' }),
  };
  static override flags = {
    dir: Flags.string({
      helpValue: 'PATH',
      summary: 'The folder to write; default: one of its name in the current directory.',
    }),
  };

  async run(): Promise<CreatedPlugin> {
    const { args, flags } = await this.parse(PluginsCreate);
    const created = await cliServices().createPlugin(args.name, flags.dir ?? args.name);
    this.log(`${created.directory} holds plugin ${created.name}:`);
    for (const file of created.files) this.log(`  ${file}`);
    this.log(`\nTry it:       cd ${created.directory} && node --test`);
    this.log(`Configure it: plugins: [ { name: ${created.name}, from: ${created.directory} } ]`);
    return created;
  }
}
