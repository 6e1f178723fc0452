import { audit } from '../../api/client/audit.ts';
import type { AuditBody } from '../../api/schemas/audit.ts';
import { auditText } from '../audit-text.ts';
import { HomewardCommand } from '../command.ts';
import { CONNECTION_FLAGS } from '../connection.ts';

export default class Audit extends HomewardCommand {
  static override summary = 'Say which addresses several sites declare, and what that means.';
  static override description =
    `What is safe thanks to return routing, what is ambiguous for new flows and why, and addresses in
traffic that their site does not declare. "config check" says the same of a file, without the traffic.`;
  static override examples = ['<%= config.bin %> audit', '<%= config.bin %> audit --json'];
  static override flags = CONNECTION_FLAGS;

  async run(): Promise<AuditBody> {
    const { flags } = await this.parse(Audit);
    const report = await audit(await this.connect(flags));
    this.log(auditText(report));
    return report;
  }
}
