/**
 * The data plane's side of tunnel tests and of strays: sends the probes that control asks for, and says what came
 * back and what came astray, by the names of the plan.
 */
import type { Assembly } from '../pipeline/assembly.ts';
import type { Plan } from '../pipeline/plan.ts';
import { portWord } from '../pipeline/port-table.ts';
import type { Stray } from '../pipeline/strays.ts';
import { PROBE_NO_SOURCE, PROBE_TIMEOUT_MS } from '../pipeline/tunnel-probes.ts';
import { DROP_REASON_NAMES } from '../plugin/drop-reasons.ts';
import { type Address, classifyAddress, formatAddress, parseAddress } from '../wire/address.ts';
import { IPV6 } from '../wire/packet.ts';
import type { DataPlaneMessage, ProbeRequest, StrayReport, StraysMessage } from './messages.ts';

export class ProbeDesk {
  /** When probes were sent (`performance.now()`), by id. */
  private readonly sentAt = new Map<number, number>();
  private readonly send: (message: DataPlaneMessage) => void;

  /** @param send to control */
  constructor(send: (message: DataPlaneMessage) => void) {
    this.send = send;
  }

  /** To be called once for an assembly. `plan`: the one that runs. `told`: of strays, for the log. */
  attach(assembly: Assembly, plan: () => Plan | undefined, told: (stray: StrayReport) => void): void {
    assembly.probes.setOnAnswer((id, index) => {
      const sentAt = this.sentAt.get(id);
      this.sentAt.delete(id);
      const port = plan()?.ports.find((candidate) => candidate.index === index);
      if (sentAt === undefined || port === undefined) return;
      this.send({
        type: 'probe-answered',
        id,
        port: port.name,
        rttMs: inMicroseconds(performance.now() - sentAt),
      });
    });
    assembly.strays.setOnStray((stray) => told(inWords(stray, plan(), stray.atMs)));
  }

  /** Sends one probe. Returns why it was not sent, as a word; empty if it was. */
  probe(
    request: ProbeRequest,
    assembly: Assembly | undefined,
    plan: Plan | undefined,
    nowMs: number,
  ): string {
    this.forgetOld();
    const port = plan?.ports.find(({ name, role }) => role === 'tunnel' && name === request.port);
    if (assembly === undefined || port === undefined) return 'no_such_tunnel';
    const target = parseAddress(request.target);
    if (target === undefined) return 'no_address';
    this.sentAt.set(request.id, performance.now());
    const result = assembly.probes.send(request.id, port.index, target, assembly.ports, nowMs);
    if (result === 0) return '';
    this.sentAt.delete(request.id);
    return result === PROBE_NO_SOURCE ? 'no_interface_address' : DROP_REASON_NAMES[result]!;
  }

  /**
   * Who on a tunnel's own link was heard last, of a family that the tunnel has an address of; null: nobody, or the
   * tunnel is none of Ethernet.
   */
  neighbor(
    tunnel: string,
    assembly: Assembly | undefined,
    plan: Plan | undefined,
    nowMs: number,
  ): string | null {
    const port = plan?.ports.find(({ name, role }) => role === 'tunnel' && name === tunnel);
    if (assembly === undefined || port?.link.kind !== 'ethernet') return null;
    const families = assembly.ports.addressesOf(port.index).map(({ family }) => family);
    const heard = assembly.link
      .neighborsHeard(port.index, nowMs)
      .find((address) => families.includes(address.family) && !isLinkLocal(address));
    return heard === undefined ? null : formatAddress(heard);
  }

  strays(assembly: Assembly | undefined, plan: Plan | undefined, nowMs: number): StraysMessage {
    const strays = assembly?.strays;
    return {
      type: 'strays',
      unexpected: strays?.unexpected ?? 0,
      foreign: strays?.foreign ?? 0,
      last: (strays?.last() ?? []).map((stray) => inWords(stray, plan, nowMs)),
    };
  }

  private forgetOld(): void {
    const before = performance.now() - PROBE_TIMEOUT_MS;
    for (const [id, at] of this.sentAt) {
      if (at > before) return;
      this.sentAt.delete(id);
    }
  }
}

function isLinkLocal(address: Address): boolean {
  return address.family === IPV6 && classifyAddress(address) === 'link_local';
}

/** What is beyond them is noise. */
function inMicroseconds(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}

function inWords(stray: Stray, plan: Plan | undefined, nowMs: number): StrayReport {
  const nameOf = (word: number): string | null =>
    plan?.ports.find((port) => portWord(port) === word)?.name ?? null;
  const { portWord: came, expectedPortWord, atMs, ...rest } = stray;
  return { ...rest, ageMs: (nowMs - atMs) | 0, port: nameOf(came), expectedPort: nameOf(expectedPortWord) };
}
