import { Args, Flags } from '@oclif/core';
import { explain } from '../../../api/client/explain.ts';
import type { ExplanationBody } from '../../../api/schemas/explain.ts';
import { HomewardCommand } from '../../command.ts';
import { CONNECTION_FLAGS } from '../../connection.ts';
import { TUPLE_FLAGS } from '../../flow-flags.ts';
import { explanationText } from '../../flow-text.ts';

export default class FlowsExplain extends HomewardCommand {
  static override summary = 'Say in words why a packet goes where it goes.';
  static override description =
    `For a live flow, by its id or by what it looks like; or for a packet that begins one, with
--from-tunnel. What is not given is tcp, to port 443. The answer comes from the stages that forward, and changes
nothing.`;
  static override examples = [
    '<%= config.bin %> flows explain 4711',
    '<%= config.bin %> flows explain --src 10.0.1.20 --dst 203.0.113.10 --proto tcp --dport 443',
    '<%= config.bin %> flows explain --from-tunnel paris-gre --src 10.0.1.20 --dst 203.0.113.10 --proto udp --dport 53',
  ];
  static override args = { id: Args.integer({ min: 1, description: 'Of a live flow.' }) };
  static override flags = {
    ...CONNECTION_FLAGS,
    'from-tunnel': Flags.string({
      summary: 'The tunnel or egress that a packet comes in by.',
      helpValue: 'NAME',
    }),
    site: Flags.string({ summary: 'Whose flow, where several sites have the same.', helpValue: 'NAME' }),
    ...TUPLE_FLAGS,
    bytes: Flags.integer({ summary: 'Length of the IP packet.', helpValue: 'N', min: 1, max: 65535 }),
  };

  async run(): Promise<ExplanationBody> {
    const { args, flags } = await this.parse(FlowsExplain);
    const explanation = await explain(await this.connect(flags), {
      flow: args.id,
      from_tunnel: flags['from-tunnel'],
      site: flags.site,
      source: flags.src,
      destination: flags.dst,
      protocol: flags.proto,
      source_port: flags.sport,
      destination_port: flags.dport,
      bytes: flags.bytes,
    });
    this.log(explanationText(explanation));
    return explanation;
  }
}
