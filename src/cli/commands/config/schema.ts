import { HomewardCommand } from '../../command.ts';
import { cliServices } from '../../services.ts';

export default class ConfigSchema extends HomewardCommand {
  static override summary = 'Print the JSON Schema of the configuration file, for editors.';
  static override description =
    `Editors with a YAML language server complete and check the file with it, if its first line is
# yaml-language-server: $schema=FILE`;
  static override examples = ['<%= config.bin %> config schema > homeward.schema.json'];

  async run(): Promise<unknown> {
    await this.parse(ConfigSchema);
    const schema = await cliServices().configSchema();
    this.log(JSON.stringify(schema, null, 2));
    return schema;
  }
}
