import { Args, Flags } from '@oclif/core';
import { listTunnels } from '../../../api/client/overview.ts';
import { testTunnels } from '../../../api/client/tunnel-tests.ts';
import type { ApiClient } from '../../../api/client.ts';
import type { TunnelTestRequestBody, TunnelTestResultBody } from '../../../api/schemas/tunnel-tests.ts';
import { HomewardCommand } from '../../command.ts';
import { CONNECTION_FLAGS } from '../../connection.ts';
import { Progress } from '../../progress.ts';
import { cliServices } from '../../services.ts';
import { table } from '../../table.ts';
import { paint } from '../../terminal.ts';
import { EXIT_FAILED, wrongUsage } from '../../wrong-usage.ts';

/** Tested by one request: small, so that progress can be told. */
const AT_A_TIME = 10;

const OUTCOMES: Readonly<Record<TunnelTestResultBody['outcome'], string>> = {
  passed: 'passed',
  lossy: 'replies missing',
  no_reply: 'no reply',
  wrong_tunnel: 'wrong tunnel',
  down: 'down',
  not_sent: 'not tested',
};

const PEERS = {
  silent: 'the peer was not reached',
  refused: 'the peer was reached, and not agreed with',
  waiting: 'nothing was agreed on yet',
  blocked: 'it cannot be tried to connect',
};

const GUESSED = { neighbor: 'the neighbour that was heard last', flow: 'the host of the newest flow' };

export default class TunnelsTest extends HomewardCommand {
  static override summary =
    'Send test traffic through tunnels, and check that the replies come back by them.';
  static override description =
    `Sends echo requests from the tunnel's interface_address to --target, or to whom its health checks ask: health.target, the
next hop, the other address of a /30, /31, /126 or /127; else to the neighbour that was heard last, on link; or to the
host of the newest flow. Of an ipsec tunnel it says what was agreed on with the peer, or what the peer said. A tunnel passes when every reply comes by itself. The exit status is 1 if one does not pass, is down, or cannot be tested.`;
  static override examples = [
    '<%= config.bin %> tunnels test',
    '<%= config.bin %> tunnels test paris-gre --target 10.0.1.7 --count 10',
  ];
  static override strict = false;
  static override args = {
    tunnel: Args.string({ description: 'Names, one or more; default: all tunnels.' }),
  };
  static override flags = {
    ...CONNECTION_FLAGS,
    count: Flags.integer({
      helpValue: 'N',
      default: 3,
      min: 1,
      max: 20,
      summary: 'Echo requests for each tunnel, at most 20.',
    }),
    target: Flags.string({ helpValue: 'ADDRESS', summary: 'An address in the site that answers ping.' }),
    wait: Flags.string({ helpValue: 'DURATION', default: '2s', summary: 'How long to wait for each reply.' }),
  };

  async run(): Promise<{ results: TunnelTestResultBody[] }> {
    const { argv, flags } = await this.parse(TunnelsTest);
    const timeoutMs = cliServices().readDuration(flags.wait);
    if (timeoutMs === undefined) {
      throw wrongUsage(`--wait: ${flags.wait} is not a duration above zero; write one such as 2s`);
    }
    const client = await this.connect(flags);
    const names = argv.length > 0 ? (argv as string[]) : (await listTunnels(client)).map(({ name }) => name);
    const results = await this.#test(client, names, { target: flags.target, count: flags.count, timeoutMs });
    this.log(describe(results));
    if (results.some(({ outcome }) => outcome !== 'passed')) process.exitCode = EXIT_FAILED;
    return { results };
  }

  async #test(
    client: ApiClient,
    names: readonly string[],
    request: TunnelTestRequestBody,
  ): Promise<TunnelTestResultBody[]> {
    const results: TunnelTestResultBody[] = [];
    const progress = new Progress('tunnels tested', names.length);
    try {
      for (let at = 0; at < names.length; at += AT_A_TIME) {
        const tunnels = names.slice(at, at + AT_A_TIME);
        results.push(...(await testTunnels(client, { ...request, tunnels })));
        progress.show(results.length);
      }
    } finally {
      progress.end();
    }
    return results;
  }
}

function ipsecText({
  peer,
  reason,
  address,
  ikeProposal,
  childProposal,
  mtu,
}: NonNullable<TunnelTestResultBody['ipsec']>): string {
  if (peer === 'connected')
    return `connected to ${address}; IKE ${ikeProposal}, ESP ${childProposal}, MTU ${mtu}`;
  return `${PEERS[peer]}${reason === null ? '' : `: ${reason}`}`;
}

function describe(results: readonly TunnelTestResultBody[]): string {
  const rows = results.map((result) => [
    result.tunnel,
    result.site,
    result.target ?? '-',
    paint(result.outcome === 'passed' ? 'green' : 'red', OUTCOMES[result.outcome]),
    `${result.received}/${result.sent}`,
    result.rttMs === null ? '-' : `${result.rttMs.average.toFixed(2)} ms`,
  ]);
  const remarks = results.flatMap(({ tunnel, target, targetFrom, outcome, reason, elsewhere, ipsec }) => [
    ...(ipsec === null ? [] : [`${tunnel}: ${ipsecText(ipsec)}`]),
    ...(reason ?? '').split('\n').flatMap((line) => (line === '' ? [] : [`${tunnel}: ${line}`])),
    ...(outcome === 'no_reply' && (targetFrom === 'neighbor' || targetFrom === 'flow')
      ? [`${tunnel}: ${target} is ${GUESSED[targetFrom]}, and may not answer ping; --target names another`]
      : []),
    ...Object.entries(elsewhere).map(
      ([port, count]) =>
        `${tunnel}: ${count} of the replies came by ${port}: the other end answers by another way`,
    ),
  ]);
  const head = ['TUNNEL', 'SITE', 'TARGET', 'RESULT', 'REPLIES', 'RTT'];
  return [table([head, ...rows]), ...(remarks.length === 0 ? [] : [remarks.join('\n')])].join('\n\n');
}
