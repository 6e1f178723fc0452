import { Flags } from '@oclif/core';
import { HomewardCommand } from '../command.ts';
import { cliServices } from '../services.ts';

export default class Run extends HomewardCommand {
  static override summary = 'Run the gateway in the foreground.';
  static override description =
    `SIGTERM stops it and keeps the guard, the devices and the flows for the next start; SIGINT
(Ctrl-C) and "homeward down" take everything down. SIGHUP opens the flow log's file anew.

What the host lacks keeps only the tunnels down that need it, and a broken file gives way to the last configuration that
ran ("homeward config history"); the log and "homeward status" say so. With --strict neither starts.`;
  static override examples = ['<%= config.bin %> run --config /etc/homeward/homeward.yaml'];
  static override flags = {
    config: Flags.string({
      helpValue: 'FILE',
      summary: 'The configuration.',
      default: '/etc/homeward/homeward.yaml',
    }),
    strict: Flags.boolean({
      summary: 'Refuse to start where something is missing on the host, or where the file is broken.',
    }),
  };

  async run(): Promise<{ stopped: true }> {
    const { flags } = await this.parse(Run);
    await cliServices().runDaemon(flags.config, flags.strict);
    return { stopped: true };
  }
}
