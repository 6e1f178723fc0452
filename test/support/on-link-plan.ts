/** Plans of a gateway in memory whose data centre is an Ethernet link with its hosts as neighbours. */
import type { Plan } from '../../src/pipeline/plan.ts';

/** MAC address of the gateway on that link. */
export const LINK_MAC = '02:00:00:00:00:01';

/** The plan with the site `datacenter`, 10.50.0.0/16, on link. */
export function withDataCenterOnLink(plan: Plan): Plan {
  return {
    ...plan,
    devices: plan.devices.map((device) =>
      device.name === 'datacenter' ? { ...device, kind: 'ethernet', mac: LINK_MAC } : device,
    ),
    ports: plan.ports.map((port) =>
      port.name === 'datacenter'
        ? {
            ...port,
            addresses: ['10.50.0.1'],
            link: {
              kind: 'ethernet',
              device: port.link.device,
              nextHop: {},
              onLink: ['10.50.0.0/16'],
              answers: ['10.50.0.1'],
              sourceAddresses: ['10.50.0.1'],
            },
          }
        : port,
    ),
  };
}
