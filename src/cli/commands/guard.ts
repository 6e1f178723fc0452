import { Flags } from '@oclif/core';
import { HomewardCommand } from '../command.ts';
import { cliServices } from '../services.ts';

export default class Guard extends HomewardCommand {
  static override summary =
    "Keep the host out of the sites' packets, before the gateway and the network are up.";
  static override description =
    `Sets the rules of nftables that a start sets too, for the configured devices, whether they are there or not. They stay
until "homeward down"; "homeward run" takes them over. appliance/systemd/homeward-guard.service does this at boot.`;
  static override examples = ['<%= config.bin %> guard --config /etc/homeward/homeward.yaml'];
  static override flags = {
    config: Flags.string({
      helpValue: 'FILE',
      summary: 'The configuration.',
      default: '/etc/homeward/homeward.yaml',
    }),
  };

  async run(): Promise<{ guard: 'set' | 'kept' }> {
    const { flags } = await this.parse(Guard);
    const isSet = await cliServices().setGuard(flags.config);
    this.log(isSet ? 'The guard stands.' : 'A gateway runs here: its guard stands.');
    return { guard: isSet ? 'set' : 'kept' };
  }
}
