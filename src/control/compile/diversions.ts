/**
 * Diversions of a plan: a port for each that the manifests of running plugins declare, and the device that leads there.
 *
 * What the host needs for it is made; where that is refused the port has no device, and the control half's status says why. The port is enabled while the plugin's
 * control half says that its proxy is ready.
 *
 * Neighbours: `../diversion-names.ts`, `host/namespaces.ts` (makes them), `../diversions/diversions.ts` (who is ready).
 */
import { DIVERSION_PROXY, DIVERSION_ROUTER } from '../../plugin/diversion-addresses.ts';
import type { Config } from '../config/config.ts';
import { diversionDevice, diversionMacs, diversionPort } from '../diversion-names.ts';
import type { DeviceDrafts } from './devices.ts';
import type { DiversionDraft } from './drafts.ts';

const MTU = 1500;
const ROUTERS = [DIVERSION_ROUTER.ipv4, DIVERSION_ROUTER.ipv6];

/** @param ready names of the ports whose proxies are */
export function draftDiversions(
  config: Config,
  devices: DeviceDrafts,
  ready: ReadonlySet<string>,
): DiversionDraft[] {
  const running = config.plugins.filter(({ enabled }) => enabled);
  return running.flatMap(({ name: plugin, manifest }) =>
    manifest.diversions.map(({ name: diversion, tcp = null, udp = null }, place): DiversionDraft => {
      const name = diversionPort(plugin, diversion);
      const device = diversionDevice(name);
      const isMade = devices.addDiversion(device, name, MTU, diversionMacs(name));
      return {
        role: 'diversion',
        name,
        spaceName: name,
        fingerprint: `diversion ${name}`,
        enabled: ready.has(name),
        mtu: MTU,
        link: {
          kind: 'ethernet',
          device: isMade ? device : null,
          nextHop: DIVERSION_PROXY,
          onLink: [],
          answers: ROUTERS,
          sourceAddresses: ROUTERS,
        },
        addresses: ROUTERS,
        plugin,
        place,
        tcp,
        udp,
      };
    }),
  );
}
