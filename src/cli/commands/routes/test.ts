import { Args, Flags } from '@oclif/core';
import { testRoute } from '../../../api/client/explain.ts';
import type { ExplanationBody } from '../../../api/schemas/explain.ts';
import { HomewardCommand } from '../../command.ts';
import { CONNECTION_FLAGS } from '../../connection.ts';
import { explanationText } from '../../flow-text.ts';
import { table } from '../../table.ts';

export default class RoutesTest extends HomewardCommand {
  static override summary = 'Say where an address leads, and why.';
  static override description =
    `For a new flow that comes in by --from-tunnel; without it, for anybody who does not declare the
address. "flows explain --from-tunnel" says the rest: plugins, translation, budgets.`;
  static override examples = [
    '<%= config.bin %> routes test 10.50.0.9 --from-tunnel paris-gre',
    '<%= config.bin %> routes test 2001:db8::1',
  ];
  static override args = { address: Args.string({ required: true, description: 'IPv4 or IPv6.' }) };
  static override flags = {
    ...CONNECTION_FLAGS,
    'from-tunnel': Flags.string({
      summary: 'The tunnel or egress that the flow comes in by.',
      helpValue: 'NAME',
    }),
  };

  async run(): Promise<ExplanationBody> {
    const { args, flags } = await this.parse(RoutesTest);
    const explanation = await testRoute(await this.connect(flags), args.address, flags['from-tunnel']);
    this.log(explanationText({ ...explanation, pin: null }));
    const rows = explanation.ports.map(({ name, priority, isUp, isAvoided, isCandidate }) => [
      name,
      priority === null ? '-' : String(priority),
      isUp ? (isAvoided ? 'avoided' : 'up') : 'down',
      isCandidate ? 'yes' : 'no',
    ]);
    if (rows.length > 0) this.log(`\n${table([['BY', 'PRIORITY', 'STATE', 'CHOSEN FROM'], ...rows])}`);
    return explanation;
  }
}
