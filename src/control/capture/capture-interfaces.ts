/**
 * The interfaces of a capture file: one for each tunnel and egress, and one for each device whose frames were dropped
 * before they were anybody's. Described when their first packet comes, or ahead if they were asked for by name.
 */
import { LINKTYPE_ETHERNET, LINKTYPE_RAW } from '../../device/capture.ts';
import type { PcapngWriter } from '../../device/pcapng-writer.ts';
import type { Plan, PlanPort } from '../../pipeline/plan.ts';

export interface FileInterface {
  /** Number in the file. */
  readonly index: number;
  readonly isEthernet: boolean;
  /** Written so far. */
  packets: number;
}

interface Description {
  readonly name: string;
  readonly description: string;
  readonly isEthernet: boolean;
}

export class CaptureInterfaces {
  readonly #plan: () => Plan | undefined;
  readonly #announced: readonly number[];
  readonly #snapBytes: number;
  readonly #byName = new Map<string, FileInterface>();

  /**
   * @param plan the one that runs: tunnels may come while a capture runs
   * @param announced ports that are described ahead, by index
   */
  constructor(plan: () => Plan | undefined, announced: readonly number[], snapBytes: number) {
    this.#plan = plan;
    this.#announced = announced;
    this.#snapBytes = snapBytes;
  }

  announce(writer: PcapngWriter): void {
    for (const port of this.#announced) this.ofPort(writer, port);
  }

  used(): Iterable<FileInterface> {
    return this.#byName.values();
  }

  nameOf(port: number): string {
    return this.#port(port)?.name ?? `port ${port}`;
  }

  ofPort(writer: PcapngWriter, index: number): FileInterface {
    const port = this.#port(index);
    const description = port === undefined ? 'removed meanwhile' : this.#describePort(port);
    return this.#interface(writer, { name: this.nameOf(index), description, isEthernet: false });
  }

  ofDevice(writer: PcapngWriter, index: number): FileInterface {
    const device = this.#plan()?.devices.find((candidate) => candidate.index === index);
    return this.#interface(writer, {
      name: `device ${device?.name ?? index}`,
      description: 'frames that were dropped by the link layer',
      isEthernet: device?.kind === 'ethernet',
    });
  }

  #interface(writer: PcapngWriter, { name, description, isEthernet }: Description): FileInterface {
    const known = this.#byName.get(name);
    if (known !== undefined) return known;
    const linkType = isEthernet ? LINKTYPE_ETHERNET : LINKTYPE_RAW;
    const index = writer.addInterface({ linkType, name, description, snapLength: this.#snapBytes });
    const added = { index, isEthernet, packets: 0 };
    this.#byName.set(name, added);
    return added;
  }

  #port(index: number): PlanPort | undefined {
    return this.#plan()?.ports.find((port) => port.index === index);
  }

  #describePort(port: PlanPort): string {
    const plan = this.#plan();
    const device = plan?.devices.find(({ index }) => index === port.link.device)?.name ?? '?';
    const space = plan?.spaces.find(({ id }) => id === port.space)?.name ?? '?';
    if (port.role !== 'tunnel') return `${port.role}, device ${device}`;
    return `${port.tunnelType} tunnel of site ${space}, device ${device}`;
  }
}
