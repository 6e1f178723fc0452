import { listMismatches } from '../../../api/client/tunnel-tests.ts';
import type { MismatchesBody } from '../../../api/schemas/tunnel-tests.ts';
import { HomewardCommand } from '../../command.ts';
import { CONNECTION_FLAGS } from '../../connection.ts';
import { protocolName } from '../../protocol-name.ts';
import { table } from '../../table.ts';

export default class TunnelsMismatches extends HomewardCommand {
  static override summary = 'List packets that came by a tunnel where nothing expects them.';
  static override description =
    `Replies that no flow expects, and packets that look like those of a flow of another site: what takes a wrong way
outside the gateway shows here. All were dropped.`;
  static override examples = ['<%= config.bin %> tunnels mismatches'];
  static override flags = CONNECTION_FLAGS;

  async run(): Promise<MismatchesBody> {
    const { flags } = await this.parse(TunnelsMismatches);
    const found = await listMismatches(await this.connect(flags));
    const rows = found.mismatches.map((mismatch) => [
      mismatch.time,
      mismatch.tunnel ?? '-',
      protocolName(mismatch.protocol),
      endpoint(mismatch.source, mismatch.sourcePort),
      endpoint(mismatch.destination, mismatch.destinationPort),
      mismatch.kind === 'foreign_tunnel'
        ? `looks like flow ${mismatch.flow} of ${mismatch.expected ?? 'a tunnel that is gone'}`
        : 'no flow expects it',
    ]);
    this.log(
      `${found.unexpectedReplies} replies that nothing expects; of the examined ones, ${found.foreignTunnelPackets} look like a flow of another site or egress.`,
    );
    if (rows.length > 0) {
      this.log(`\n${table([['TIME', 'CAME BY', 'PROTOCOL', 'SOURCE', 'DESTINATION', 'REMARK'], ...rows])}`);
    }
    return found;
  }
}

function endpoint(address: string, port: number): string {
  if (port === 0) return address;
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}
