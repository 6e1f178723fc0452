/**
 * The main job: sites with the very same addresses send the very same five-tuples at the same time, by every
 * kind of tunnel, and every reply comes back to the site that asked, and to no other.
 */
import { answersEverySite } from '../support/lab/same-addresses.ts';
import type { Attachment, NetworkSpec } from '../support/lab/sites.ts';

function manySites(count: number, attachment: Attachment): NetworkSpec['sites'] {
  return Array.from({ length: count }, (_, at) => ({ name: `s${at}`, attachment }));
}

answersEverySite(
  'two sites, GRE and interconnect',
  {
    sites: [
      { name: 'paris', attachment: 'gre' },
      { name: 'lyon', attachment: 'on-link' },
    ],
  },
  20,
);

answersEverySite(
  'every kind of tunnel, a pool of external addresses, a host that does not forward',
  {
    sites: [
      { name: 'paris', attachment: 'gre' },
      { name: 'lyon', attachment: 'on-link' },
      { name: 'nice', attachment: 'next-hop' },
      { name: 'lille', attachment: 'next-hop' },
      { name: 'metz', attachment: 'device' },
      { name: 'brest', attachment: 'gre-peer' },
    ],
    hostForwards: false,
    externalAddresses: ['198.51.100.16/31', '2001:db8:100::16/127'],
  },
  10,
);

answersEverySite(
  'GRE with checksums and sequence numbers, between homeward and homeward and with another program',
  {
    sites: [
      { name: 'paris', attachment: 'gre' },
      { name: 'brest', attachment: 'gre-peer' },
      { name: 'caen', attachment: 'gre-peer' },
    ],
    gre: { checksum: true, sequence: true },
  },
  10,
);

answersEverySite('a hundred sites on link', { sites: manySites(100, 'on-link') }, 5);
answersEverySite('a hundred sites by next hop', { sites: manySites(100, 'next-hop') }, 5);
answersEverySite('a hundred sites by GRE', { sites: manySites(100, 'gre-peer') }, 5);
