/**
 * What the compiler must know for `ipsec` tunnels beside the host's links and routes: which drivers work here, whether
 * the secrets can be read, and how the tunnels are.
 */
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { CHARON_PATH } from '../../tunnel/ipsec/charon.ts';
import type { Config, TunnelConfig } from '../config/config.ts';
import type { IkeConfig } from '../config/ipsec-config.ts';
import type { Availability, IpsecFacts } from '../facts.ts';
import { kernelLinkFacts } from '../host/kernel-modules.ts';
import { readIkeCredentials } from './ike-credentials.ts';

/** Bit of the capability (linux/capability.h). */
const CAP_SYS_ADMIN = 21n;
/** Where `ip netns` keeps them. */
const NAMESPACES = '/run/netns';
/** Where Debian and others have charon's plugins. */
const PLUGIN_DIRECTORIES = [
  '/usr/lib/ipsec/plugins',
  '/usr/lib/strongswan/plugins',
  '/usr/libexec/ipsec/plugins',
];

/** @param running left out in checks beside a gateway, which is not asked */
export function collectIpsecFacts(config: Config, running?: IpsecFacts['running']): IpsecFacts | undefined {
  const tunnels = config.sites.flatMap((site) => site.tunnels).flatMap(connectionOf);
  if (tunnels.length === 0) return undefined;
  return {
    drivers: { xfrm: xfrmFacts(config.ipsec.daemonSocket), libipsec: libipsecFacts() },
    credentials: Object.fromEntries(
      tunnels.flatMap(({ name, ike }) => {
        const problem = credentialsProblem(ike);
        return problem === undefined ? [] : [[name, problem]];
      }),
    ),
    running,
  };
}

/** Of a tunnel that has one, be it the tunnel itself or what protects it. */
function connectionOf(tunnel: TunnelConfig): { name: string; ike: IkeConfig }[] {
  const { name, enabled } = tunnel;
  if (!enabled) return [];
  if (tunnel.type === 'ipsec') return [{ name, ike: tunnel.ike }];
  return tunnel.type === 'gre' && tunnel.ipsec !== null ? [{ name, ike: tunnel.ipsec.ike }] : [];
}

function credentialsProblem(ike: IkeConfig): string | undefined {
  try {
    readIkeCredentials(ike);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

function xfrmFacts(daemonSocket: string | null): Availability {
  const kernel = kernelLinkFacts().xfrm;
  if (!kernel.available || daemonSocket !== null || existsSync(CHARON_PATH)) return kernel;
  return { available: false, why: `${CHARON_PATH} is missing (Debian: charon-systemd)` };
}

function libipsecFacts(): Availability {
  const no = (why: string): Availability => ({ available: false, why });
  if (!existsSync(CHARON_PATH)) return no(`${CHARON_PATH} is missing (Debian: charon-systemd)`);
  const plugin = PLUGIN_DIRECTORIES.some((path) => existsSync(`${path}/libstrongswan-kernel-libipsec.so`));
  if (!plugin) return no("strongSwan's plugin kernel-libipsec is missing (Debian: libcharon-extra-plugins)");
  if (!existsSync('/dev/net/tun')) return no('/dev/net/tun is missing');
  const obstacle = namespaceObstacle();
  if (obstacle !== undefined) return no(obstacle);
  return { available: true, why: 'strongSwan does ESP itself (kernel-libipsec)' };
}

/** Why network namespaces cannot be made, which the daemons live in: a service may lack what root has. */
function namespaceObstacle(): string | undefined {
  const status = readFileSync('/proc/self/status', 'latin1');
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0';
  const remedy = 'as a service, install homeward-ipsec.conf as docs/systemd.md says';
  if (((BigInt(`0x${effective}`) >> CAP_SYS_ADMIN) & 1n) === 0n) {
    return `driver libipsec makes network namespaces, for which CAP_SYS_ADMIN is missing; ${remedy}`;
  }
  try {
    accessSync(existsSync(NAMESPACES) ? NAMESPACES : '/run', constants.W_OK);
    return undefined;
  } catch {
    return `driver libipsec makes network namespaces, for which ${NAMESPACES} is not writable; ${remedy}`;
  }
}
