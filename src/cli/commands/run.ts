import { Flags } from '@oclif/core';
import { HomewardCommand } from '../command.ts';
import { cliServices } from '../services.ts';

export default class Run extends HomewardCommand {
  static override summary = 'Run the gateway in the foreground.';
  static override description =
    `SIGTERM stops it and keeps the guard, the devices and the flows for the next start; SIGINT
(Ctrl-C) and "homeward down" take everything down.`;
  static override examples = ['<%= config.bin %> run --config /etc/homeward/homeward.yaml'];
  static override flags = {
    config: Flags.string({
      helpValue: 'FILE',
      summary: 'The configuration.',
      default: '/etc/homeward/homeward.yaml',
    }),
  };

  async run(): Promise<{ stopped: true }> {
    const { flags } = await this.parse(Run);
    await cliServices().runDaemon(flags.config);
    return { stopped: true };
  }
}
