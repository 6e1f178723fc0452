/**
 * The devices of a plan, one for each interface however many ports use it, in the order in which the ports name
 * them. Asks the facts and says what is wrong with an interface.
 *
 * A device that is not there, or not as it must be, is kept for the guard: it may appear (`HostDevice.present`).
 */
import type { ConfigPath, PortRange } from '../config/config.ts';
import { nearest } from '../config/suggest.ts';
import type { diversionMacs } from '../diversion-names.ts';
import type { HostFacts, LinkFacts } from '../facts.ts';
import type { DeviceDraft } from './drafts.ts';
import type { HostFindings } from './host-findings.ts';
import type { HostGreEndpoints, HostPortForward, HostSharedAddress, KernelTunnel } from './host-setup.ts';

/** What a new TUN device carries unless the tunnel says otherwise. */
const DEFAULT_TUN_MTU = 1500;

/** What the guard can name, and nothing else by it: a `*` would match other interfaces, too. */
export const GUARDED_NAME = /^[\w.+~@-]{1,15}$/;
const GUARDED_CHARACTERS = 'letters, digits and . _ + ~ @ -';

/** An Ethernet interface, known to exist. */
export interface EthernetFacts extends LinkFacts {
  readonly mac: string;
}

interface SharedDraft {
  readonly link: LinkFacts | undefined;
  readonly gre: HostGreEndpoints[];
  readonly poolAddresses: string[];
  readonly sharedAddresses: HostSharedAddress[];
  readonly portForwards: HostPortForward[];
  readonly untranslatedPrefixes: string[];
}

/** What an egress adds to its uplink. */
export interface EgressShare {
  readonly poolAddresses: readonly string[];
  readonly sharedAddresses: readonly { readonly address: string; readonly ports: PortRange }[];
  readonly portForwards: readonly HostPortForward[];
  readonly untranslatedPrefixes: readonly string[];
}

export class DeviceDrafts {
  readonly #facts: HostFacts;
  readonly #findings: HostFindings;
  readonly #exclusive = new Map<string, DeviceDraft>();
  readonly #shared = new Map<string, SharedDraft>();
  /** Names in order of appearance. */
  readonly #names = new Set<string>();

  constructor(facts: HostFacts, findings: HostFindings) {
    this.#facts = facts;
    this.#findings = findings;
  }

  /** The Ethernet interface of an interconnect; reports and returns undefined if it is none. */
  ethernet(name: string, path: ConfigPath): EthernetFacts | undefined {
    const link = this.#free(name, path);
    if (!link) return undefined;
    if (isEthernet(link)) return link;
    this.#findings.mistake(path, `${name} is not an Ethernet interface; write type: device`);
    return undefined;
  }

  /** The interface of an egress: Ethernet or layer 3. */
  uplink(name: string, path: ConfigPath): LinkFacts | undefined {
    const link = this.#free(name, path);
    if (!link) return undefined;
    if (!mayBeUplink(link)) {
      this.#findings.mistake(
        path,
        `${name} is the loopback interface; write the one that leads to the internet`,
      );
      return undefined;
    }
    if (!link.up) this.#findings.notReady(path, `${name} is down; set it up (ip link set ${name} up)`);
    return link;
  }

  /** The existing layer-3 interface of a device tunnel. */
  layer3(name: string, path: ConfigPath): LinkFacts | undefined {
    const link = this.#free(name, path);
    if (!link) return undefined;
    if (isLayer3(link)) return link;
    const what = link.kind === 'loopback' ? 'the loopback interface' : 'an Ethernet interface';
    const remedy = link.kind === 'loopback' ? 'write a layer-3 interface' : 'write type: interconnect';
    this.#findings.mistake(path, `${name} is ${what}; ${remedy}`);
    return undefined;
  }

  /** `link`: undefined if it is not there, or not as it must be. */
  addInterconnect(name: string, tunnel: string, link: EthernetFacts | undefined): void {
    const { ifindex = 0, mtu = 0, mac } = link ?? {};
    const present = link !== undefined;
    const host = { role: 'exclusive', kind: 'ethernet', name, ifindex, mtu, tunnel, present } as const;
    this.#add(name, { planKind: 'ethernet', ...(mac === undefined ? {} : { mac }), host });
  }

  /** As {@link addInterconnect}. */
  addLayer3(name: string, tunnel: string, link: LinkFacts | undefined): void {
    const { ifindex = 0, mtu = 0 } = link ?? {};
    const present = link !== undefined;
    const host = { role: 'exclusive', kind: 'ip', name, ifindex, mtu, tunnel, present } as const;
    this.#add(name, { planKind: 'ip', host });
  }

  /** A tunnel interface that the kernel makes for us; one by this name may be there from an earlier run. */
  addMade(name: string, tunnel: string, mtu: number, kernelTunnel: Omit<KernelTunnel, 'isUp'>): void {
    const { ifindex = 0, up = false } = linkByName(this.#facts, name) ?? {};
    const made = { ...kernelTunnel, isUp: up };
    const host = { role: 'exclusive', kind: 'ip', name, ifindex, mtu, tunnel, made, present: true } as const;
    this.#add(name, { planKind: 'ip', host });
  }

  /** Whether a tunnel or an egress has an interface of this name. */
  has(name: string): boolean {
    return this.#names.has(name);
  }

  /** The wire to a diversion's namespace, which is made. Whether it could be. */
  addDiversion(name: string, tunnel: string, mtu: number, macs: ReturnType<typeof diversionMacs>): boolean {
    const present = !Object.hasOwn(this.#facts.refusedLinks, name);
    const { ifindex = 0 } = linkByName(this.#facts, name) ?? {};
    const diversion = { mac: macs.ours, proxyMac: macs.proxys };
    const common = { role: 'exclusive', kind: 'ethernet', name, ifindex, mtu, tunnel } as const;
    this.#add(name, { planKind: 'ethernet', mac: macs.ours, host: { ...common, diversion, present } });
    return present;
  }

  /** A TUN device of our own; one by this name may be there from an earlier run. Returns its MTU. */
  addTun(name: string, tunnel: string, mtu: number | null, path: ConfigPath): number {
    const there = linkByName(this.#facts, name);
    const tunMtu = mtu ?? DEFAULT_TUN_MTU;
    if (!this.#canBeGuarded(name, path)) return tunMtu;
    if (there && there.kind !== 'tun') {
      this.#findings.mistake(
        path,
        `${name} exists and is no TUN device; write another name or driver: packet`,
      );
      this.addLayer3(name, tunnel, undefined);
      return tunMtu;
    }
    this.#add(name, { planKind: 'tun', host: { role: 'tun', name, mtu: tunMtu, tunnel, present: true } });
    return tunMtu;
  }

  /**
   * The interface that outer packets leave by, Ethernet or layer 3. It may be an egress's uplink, but no
   * tunnel's device: nothing but that tunnel passes there.
   */
  underlay(name: string, remote: string, path: ConfigPath): LinkFacts | undefined {
    const route = `${remote} is reached by ${name}`;
    const link = linkByName(this.#facts, name);
    if (!GUARDED_NAME.test(name)) {
      this.#findings.lack(
        path,
        `${route}, whose name guard rules cannot hold; rename it (${GUARDED_CHARACTERS})`,
      );
      return undefined;
    }
    if (!link || !mayBeUplink(link)) {
      this.#findings.lack(
        path,
        `${route}, which is no Ethernet or layer-3 interface; change the host's route to it`,
      );
      return undefined;
    }
    const owner = this.#exclusive.get(name)?.host;
    if (owner && 'tunnel' in owner) {
      this.#findings.lack(path, `${route}, which tunnel ${owner.tunnel} owns; change the host's route to it`);
      return undefined;
    }
    if (link.carrier === false) this.#findings.notReady(path, `${route}, which has no carrier`);
    return link;
  }

  /** The GRE packets that come by its {@link underlay} are ours. */
  addUnderlay(name: string, endpoints: HostGreEndpoints): void {
    this.#shareGre(name, linkByName(this.#facts, name), endpoints);
  }

  /** For a tunnel that is down: its packets stay ours on the device that they came by before. */
  keepUnderlay(name: string, endpoints: HostGreEndpoints): void {
    const link = linkByName(this.#facts, name);
    if (this.#exclusive.has(name) || (link !== undefined && !mayBeUplink(link))) return;
    this.#shareGre(name, link, endpoints);
  }

  /** `link`: undefined if it is not there, or not as it must be. */
  addEgress(name: string, link: LinkFacts | undefined, share: EgressShare): void {
    const draft = this.#share(name, link);
    draft.poolAddresses.push(...share.poolAddresses);
    draft.sharedAddresses.push(...share.sharedAddresses);
    draft.portForwards.push(...share.portForwards);
    draft.untranslatedPrefixes.push(...share.untranslatedPrefixes);
  }

  /** All devices, in order of appearance. */
  all(): DeviceDraft[] {
    const besideSas = [...this.#exclusive.values()].some(({ host }) => isOfSas(host));
    return [...this.#names].map((name) => {
      const exclusive = this.#exclusive.get(name);
      if (exclusive) return exclusive;
      const { link, ...ours } = this.#shared.get(name)!;
      const { ifindex = 0, mtu = 0 } = link ?? {};
      const present = link !== undefined;
      // Of one that is not there nobody knows; rules without link headers hold on either.
      const ethernet = link !== undefined && isEthernet(link) ? link : undefined;
      const kind = ethernet === undefined ? 'ip' : 'ethernet';
      const mac = ethernet === undefined ? {} : { mac: ethernet.mac };
      return {
        planKind: kind,
        ...mac,
        host: {
          role: 'shared',
          kind,
          name,
          mtu,
          ifindex,
          present,
          ...ours,
          ...(besideSas ? { besideSas } : {}),
        },
      };
    });
  }

  #add(name: string, draft: DeviceDraft): void {
    this.#names.add(name);
    this.#exclusive.set(name, draft);
  }

  #shareGre(name: string, link: LinkFacts | undefined, endpoints: HostGreEndpoints): void {
    const { gre } = this.#share(name, link);
    const known = gre.some(({ local, remote }) => local === endpoints.local && remote === endpoints.remote);
    if (!known) gre.push(endpoints);
  }

  #share(name: string, link: LinkFacts | undefined): SharedDraft {
    this.#names.add(name);
    const known = this.#shared.get(name);
    if (known) return known;
    const draft: SharedDraft = {
      link,
      gre: [],
      poolAddresses: [],
      sharedAddresses: [],
      portForwards: [],
      untranslatedPrefixes: [],
    };
    this.#shared.set(name, draft);
    return draft;
  }

  /** One that is there, and that nothing else takes the packets of. */
  #free(name: string, path: ConfigPath): LinkFacts | undefined {
    const link = this.#existing(name, path);
    if (link === undefined) return undefined;
    if (link.partOf !== undefined) {
      const { kind, name: master } = link.partOf;
      this.#findings.mistake(
        path,
        `${name} is a port of ${kind} ${master}; write ${master}, or take ${name} out of it`,
      );
      return undefined;
    }
    if (link.carrier === false) {
      this.#findings.notReady(path, `${name} has no carrier; look at its cable, or at its other end`);
    }
    return link;
  }

  #canBeGuarded(name: string, path: ConfigPath): boolean {
    if (GUARDED_NAME.test(name)) return true;
    this.#findings.mistake(
      path,
      `${name} is a name that guard rules cannot hold; rename the interface (${GUARDED_CHARACTERS})`,
    );
    return false;
  }

  #existing(name: string, path: ConfigPath): LinkFacts | undefined {
    if (!this.#canBeGuarded(name, path)) return undefined;
    const link = linkByName(this.#facts, name);
    if (link) return link;
    const names = Object.keys(this.#facts.links).filter((other) => other !== 'lo');
    const near = nearest(name, names);
    const here =
      names.length > 0 ? `interfaces here: ${names.sort().join(', ')}` : 'there are no interfaces here';
    const remedy = near === undefined ? here : `did you mean ${near}? (${here})`;
    this.#findings.lack(path, `${name} does not exist; ${remedy}`);
    return undefined;
  }
}

/** The link of this name, if it is there (a name may be `constructor`). */
export function linkByName(facts: HostFacts, name: string): LinkFacts | undefined {
  return Object.hasOwn(facts.links, name) ? facts.links[name] : undefined;
}

/** Whether its packets have an Ethernet header, and go to a neighbour's MAC. */
export function isEthernet(link: LinkFacts): link is EthernetFacts {
  return link.kind === 'ethernet' && link.mac !== undefined;
}

function isOfSas(host: DeviceDraft['host']): boolean {
  const made = host.role === 'exclusive' ? host.made : undefined;
  return made !== undefined && (made.link.kind === 'xfrm' || made.requestId !== null);
}

function isLayer3(link: LinkFacts): boolean {
  return link.kind === 'layer3' || link.kind === 'tun';
}

function mayBeUplink(link: LinkFacts): boolean {
  return isEthernet(link) || isLayer3(link);
}
