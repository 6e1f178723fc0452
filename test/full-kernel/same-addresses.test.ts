/**
 * The main job with devices of the kernel: its own GRE as the peer, VLANs of one trunk, WireGuard. Runs in the guest
 * of `scripts/lab`.
 */
import { answersEverySite } from '../support/lab/same-addresses.ts';

answersEverySite(
  'the peer\u2019s kernel GRE, VLANs, WireGuard',
  {
    sites: [
      { name: 'paris', attachment: 'gre-kernel' },
      { name: 'lyon', attachment: 'vlan' },
      { name: 'nice', attachment: 'vlan' },
      { name: 'lille', attachment: 'wireguard' },
    ],
    gre: { driver: 'userspace' },
  },
  5,
);

answersEverySite(
  'kernel GRE with checksums and sequence numbers',
  {
    sites: [
      { name: 'paris', attachment: 'gre-kernel' },
      { name: 'caen', attachment: 'gre-kernel' },
    ],
    gre: { checksum: true, sequence: true, driver: 'userspace' },
  },
  5,
);
