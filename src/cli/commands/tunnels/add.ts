import { Args, Flags } from '@oclif/core';
import { addTunnel } from '../../../api/client/tunnel-changes.ts';
import type { AppliedBody } from '../../../api/schemas/config.ts';
import { HomewardCommand } from '../../command.ts';
import { CHANGE_FLAGS, changeMembers, describeApplied } from '../../config-change.ts';
import { CONNECTION_FLAGS } from '../../connection.ts';
import { askForWishes, missingWishes, type TunnelWishes, tunnelOf } from '../../new-tunnel.ts';
import { canAsk } from '../../terminal.ts';
import { EXIT_USAGE } from '../../wrong-usage.ts';

export default class TunnelsAdd extends HomewardCommand {
  static override summary = 'Add a tunnel to the configuration, at once.';
  static override description =
    `On a terminal it asks for what is missing. Comments and everything else in the configuration stay as they are, and
no other tunnel loses a packet. Secrets stay in their files: only paths are given here. For keys that have no flag here, edit the file and use "config apply".`;
  static override examples = [
    '<%= config.bin %> tunnels add',
    '<%= config.bin %> tunnels add paris-2 --site paris --type gre --local 192.0.2.1 --remote 198.51.100.12 --key 9',
    '<%= config.bin %> tunnels add nice-ipsec --site nice --prefix 10.0.1.0/24 --type ipsec --local 192.0.2.1 --remote 198.51.100.11 --local-id gw1.example --remote-id nice.example --psk-file /etc/homeward/secrets/nice',
    '<%= config.bin %> tunnels add lyon-ic --site lyon --prefix 10.0.1.0/24 --type interconnect --device eth1.20 --interface-address 172.20.0.1/30 --next-hop 172.20.0.2 --dry-run',
  ];
  static override args = { name: Args.string({ description: 'Its name.' }) };
  static override flags = {
    ...CONNECTION_FLAGS,
    ...CHANGE_FLAGS,
    site: Flags.string({
      helpValue: 'NAME',
      summary: 'The site it leads to; one that is not there is made.',
    }),
    prefix: Flags.string({ helpValue: 'PREFIX', multiple: true, summary: "A new site's addresses." }),
    type: Flags.string({ options: ['gre', 'ipsec', 'interconnect', 'device'] }),
    local: Flags.string({ helpValue: 'ADDRESS', summary: 'gre, ipsec: address of this host.' }),
    remote: Flags.string({
      helpValue: 'ADDRESS',
      summary: 'gre, ipsec: address of the other end; ipsec: or any.',
    }),
    key: Flags.integer({ min: 0, max: 0xffffffff, summary: 'gre: key.' }),
    'local-id': Flags.string({ helpValue: 'IDENTITY', summary: 'ipsec: who this end is.' }),
    'remote-id': Flags.string({ helpValue: 'IDENTITY', summary: 'ipsec: who the other end is.' }),
    'psk-file': Flags.string({
      helpValue: 'PATH',
      exclusive: ['certificate'],
      summary: 'ipsec: file of the pre-shared key, on the gateway.',
    }),
    certificate: Flags.string({
      helpValue: 'PATH',
      summary: 'ipsec: file of the own certificate with its chain, PEM.',
    }),
    'certificate-key': Flags.string({
      helpValue: 'PATH',
      dependsOn: ['certificate'],
      summary: 'ipsec: file of its private key.',
    }),
    ca: Flags.string({
      helpValue: 'PATH',
      multiple: true,
      dependsOn: ['certificate'],
      summary: "ipsec: file of the authority that signs the other end's certificate.",
    }),
    'ike-proposal': Flags.string({
      helpValue: 'PROPOSAL',
      multiple: true,
      summary: 'ipsec: such as aes256gcm16-prfsha384-ecp384.',
    }),
    'esp-proposal': Flags.string({
      helpValue: 'PROPOSAL',
      multiple: true,
      summary: 'ipsec: such as aes256gcm16.',
    }),
    start: Flags.string({
      options: ['initiate', 'respond', 'both'],
      summary: 'ipsec: who begins; default both, with --remote any respond.',
    }),
    device: Flags.string({ helpValue: 'INTERFACE', summary: 'interconnect, device: the interface.' }),
    'interface-address': Flags.string({
      helpValue: 'ADDRESS/LENGTH',
      multiple: true,
      summary: "The gateway's address in the tunnel.",
    }),
    'next-hop': Flags.string({
      helpValue: 'ADDRESS',
      multiple: true,
      summary: "interconnect: the site's router.",
    }),
    priority: Flags.integer({ min: 0, max: 65535, summary: 'Lower is preferred; default 100.' }),
    mtu: Flags.integer({ min: 576, max: 65535, summary: 'Bytes of the largest packet inside.' }),
  };

  async run(): Promise<AppliedBody> {
    const { args, flags } = await this.parse(TunnelsAdd);
    const wishes = await this.#complete({
      site: flags.site,
      name: args.name,
      type: flags.type,
      local: flags.local,
      remote: flags.remote,
      key: flags.key,
      device: flags.device,
      interface_address: flags['interface-address'],
      next_hop: flags['next-hop'],
      priority: flags.priority,
      mtu: flags.mtu,
      local_id: flags['local-id'],
      remote_id: flags['remote-id'],
      psk_file: flags['psk-file'],
      certificate: flags.certificate,
      certificate_key: flags['certificate-key'],
      ca: flags.ca,
      ike_proposal: flags['ike-proposal'],
      esp_proposal: flags['esp-proposal'],
      start: flags.start,
    });
    const body = {
      site: wishes.site!,
      prefixes: flags.prefix ?? [],
      tunnel: tunnelOf(wishes),
      ...changeMembers(flags),
    };
    const applied = await addTunnel(await this.connect(flags), body, flags['dry-run']);
    for (const line of describeApplied(applied)) this.log(line);
    return applied;
  }

  async #complete(wishes: TunnelWishes): Promise<TunnelWishes> {
    const missing = missingWishes(wishes);
    if (missing.length === 0) return wishes;
    if (canAsk() && !this.jsonEnabled()) return await askForWishes(wishes);
    const flags = missing.map((wish) => (wish === 'name' ? 'NAME' : `--${wish.replaceAll('_', '-')}`));
    throw Object.assign(
      new Error(`missing: ${flags.join(', ')}; "homeward tunnels add --help" has examples`),
      {
        exitStatus: EXIT_USAGE,
      },
    );
  }
}
