/**
 * IPsec on a kernel without ESP: two sites with the very same addresses behind plain strongSwan, their tunnels by the
 * user-space driver.
 */
import { answersEverySite } from '../support/lab/same-addresses.ts';

answersEverySite(
  'two sites by IPsec in user space',
  {
    sites: [
      { name: 'paris', attachment: 'ipsec' },
      { name: 'lyon', attachment: 'ipsec' },
    ],
    hostForwards: false,
  },
  10,
);
