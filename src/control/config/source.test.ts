/** Files that are not the YAML they should be. */
import { badConfigurations } from '../../../test/support/bad-configurations.ts';

badConfigurations([
  [
    'two documents',
    'routes:',
    '---\nroutes:',
    ['34:1: a second YAML document begins here; write one document'],
  ],
  [
    'duplicate key',
    'routes:',
    'version: 1\nroutes:',
    ['34:1: this key stands here twice; write each key once'],
  ],
  [
    'bad indentation',
    '  - name: lyon\n',
    '   - name: lyon\n',
    [
      '18:4: is not YAML: All sequence items must start at the same column; look at the indentation of this line and the one before',
    ],
  ],
  ['tab', '  max_flows', '\tmax_flows', ['39:1: a tab is no indentation; write spaces']],
  [
    'unknown alias',
    'addresses: auto',
    'addresses: *pool',
    ['31:16: *pool is not known; write &pool at an earlier value'],
  ],
  [
    'tag',
    'addresses: auto',
    'addresses: !ip 192.0.2.1',
    ['31:16: tags such as !this have no meaning here; leave them out'],
  ],
  [
    'key that is no text',
    'routes:',
    '7: x\nroutes:',
    [
      '34:1: 7 is not a known key; the keys here are version, gateway, sites, egress, routes, ipsec, flow_table, plugins, api, metrics, flow_log, log',
    ],
  ],
  [
    'two mistakes',
    'prefixes: [10.50.0.0/16]\n    tunnels:\n      - { name: dc-wg, type: device, device: wg0 }',
    'prefixes: [10.50.0.1/16]\n    tunnels:\n      - { name: dc-wg, type: device, devise: wg0 }',
    [
      '23:16: sites.datacenter.prefixes[0]: 10.50.0.1/16 has bits set behind its length; write 10.50.0.0/16',
      '25:9: sites.datacenter.tunnels.dc-wg.device: is missing; write a name as `ip link` shows it, such as eth0',
      '25:38: sites.datacenter.tunnels.dc-wg: devise is not a known key; did you mean device?',
    ],
  ],
]);
