import { ApiError } from '../../api/client.ts';
import { HomewardCommand } from '../command.ts';
import { CONNECTION_FLAGS } from '../connection.ts';
import { cliServices } from '../services.ts';

/** What there was to take down: a running gateway, what a dead one left, or nothing. */
type Taken = 'running' | 'leftovers' | 'nothing';

const SAID: Readonly<Record<Taken, string>> = {
  running: 'The gateway is down.',
  leftovers: 'No gateway was running; what the last one left is removed.',
  nothing: 'No gateway was running, and there was nothing to remove.',
};

export default class Down extends HomewardCommand {
  static override summary = 'Take the gateway down: tunnels, devices, flows and, last, the guard.';
  static override description = 'Where no gateway runs, what a crashed one left is removed.';
  static override examples = ['<%= config.bin %> down'];
  static override flags = CONNECTION_FLAGS;

  async run(): Promise<{ taken_down: Taken }> {
    const { flags } = await this.parse(Down);
    const client = await this.connect(flags);
    let taken: Taken = 'running';
    try {
      await client.down();
    } catch (error) {
      const isNotHere = error instanceof ApiError && error.code === 'not_running' && client.isLocal;
      if (!isNotHere) throw error;
      taken = (await cliServices().takeDownLeftovers()) ? 'leftovers' : 'nothing';
    }
    this.log(SAID[taken]);
    return { taken_down: taken };
  }
}
