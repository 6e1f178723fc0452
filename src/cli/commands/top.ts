import { Flags } from '@oclif/core';
import { listFlows } from '../../api/client/flows.ts';
import { type ApiClient, ApiError } from '../../api/client.ts';
import type { FlowBody } from '../../api/schemas/flows.ts';
import type { StatusBody } from '../../api/schemas/gateway.ts';
import { HomewardCommand } from '../command.ts';
import { CONNECTION_FLAGS } from '../connection.ts';
import { LiveScreen } from '../live-screen.ts';
import { cliServices } from '../services.ts';
import { type Sample, topLines } from '../top-screen.ts';

/** Of these, those with the highest rates are shown. */
const WATCHED_FLOWS = 500;
/** Without a terminal: between the two samples of the one table. */
const TABLE_SIZE = { columns: Number.POSITIVE_INFINITY, rows: 1000 };

export default class Top extends HomewardCommand {
  static override summary = 'Watch tunnels and the busiest flows, live.';
  static override description =
    `q ends. Without a terminal, or with --once, one table is printed. Flows are the busiest among the ${WATCHED_FLOWS} that
have transferred most.`;
  static override examples = [
    '<%= config.bin %> top',
    '<%= config.bin %> top --interval 5s',
    '<%= config.bin %> top --once --json',
  ];
  static override flags = {
    ...CONNECTION_FLAGS,
    interval: Flags.string({ helpValue: 'DURATION', default: '1s', summary: 'Time between two looks.' }),
    once: Flags.boolean({ summary: 'Print one table and end.' }),
  };

  async run(): Promise<{ status: StatusBody; flows: readonly FlowBody[] }> {
    const { flags } = await this.parse(Top);
    const intervalMs = cliServices().readDuration(flags.interval);
    if (intervalMs === undefined || intervalMs < 100) {
      this.error(`--interval: ${flags.interval} is not a duration of at least 100ms; write one such as 1s`);
    }
    const client = await this.connect(flags);
    const first = await sample(client);
    const live = process.stdout.isTTY === true && process.stdin.isTTY === true;
    if (live && !flags.once && !this.jsonEnabled()) {
      const last = await watch(client, first, intervalMs);
      return { status: last.status, flows: last.flows };
    }
    await new Promise((resolve) => setTimeout(resolve, intervalMs));
    const second = await sample(client);
    this.log(topLines(first, second, TABLE_SIZE).join('\n'));
    return { status: second.status, flows: second.flows };
  }
}

async function sample(client: ApiClient): Promise<Sample> {
  const [status, { flows }] = await Promise.all([
    client.status(),
    // Without a data plane there may be no flow memory to read.
    listFlows(client, {}, WATCHED_FLOWS, 'bytes').catch((error: unknown) => {
      if (error instanceof ApiError && error.status === 503) return { flows: [] };
      throw error;
    }),
  ]);
  return { atMs: performance.now(), status, flows };
}

/** Draws until the user ends it; the last sample. */
async function watch(client: ApiClient, first: Sample, intervalMs: number): Promise<Sample> {
  const screen = new LiveScreen('q ends');
  let before: Sample | undefined;
  let now = first;
  try {
    for (;;) {
      const [drawnBefore, drawnNow] = [before, now];
      screen.draw((size) => topLines(drawnBefore, drawnNow, size));
      if (await screen.endsWithin(intervalMs)) return now;
      try {
        const next = await sample(client);
        before = now;
        now = next;
        screen.remark = '';
      } catch (error) {
        // It may be restarting: what was last seen stays.
        if (!(error instanceof ApiError)) throw error;
        screen.remark = error.message;
      }
    }
  } finally {
    screen.close();
  }
}
