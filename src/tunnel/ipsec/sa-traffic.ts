/**
 * What a tunnel has carried and how often its SAs were rekeyed, over all of its SAs: the daemon counts anew with each.
 *
 * Every look adds what each SA has counted since the look before. Packets of an SA between the last look at it and its
 * end are missing; there is a look at every rekeying, when the old one is still there.
 */
import type { IkeSa } from '../../vici/views.ts';

/** Bytes of IP packets inside, and packets; as counted by the daemon or the kernel. */
export interface IpsecTraffic {
  readonly bytesIn: number;
  readonly packetsIn: number;
  readonly bytesOut: number;
  readonly packetsOut: number;
}

export interface Rekeyings {
  readonly ike: number;
  readonly child: number;
}

const NOTHING: IpsecTraffic = { bytesIn: 0, packetsIn: 0, bytesOut: 0, packetsOut: 0 };

export class SaTraffic {
  #total: IpsecTraffic = NOTHING;
  /** By unique id of the child SA and its inbound SPI: a daemon that was restarted gives ids again. */
  #last: ReadonlyMap<string, IpsecTraffic> = new Map();
  #rekeyings: Rekeyings = { ike: 0, child: 0 };

  get total(): IpsecTraffic {
    return this.#total;
  }

  get rekeyings(): Rekeyings {
    return this.#rekeyings;
  }

  rekeyed(what: keyof Rekeyings): void {
    this.#rekeyings = { ...this.#rekeyings, [what]: this.#rekeyings[what] + 1 };
  }

  /** @param sas all that the tunnel has now */
  look(sas: readonly IkeSa[]): void {
    const now = new Map<string, IpsecTraffic>();
    for (const child of sas.flatMap(({ children }) => children)) {
      const key = `${child.uniqueId} ${child.spiIn ?? ''}`;
      const { bytesIn, packetsIn, bytesOut, packetsOut } = child;
      const counted = { bytesIn, packetsIn, bytesOut, packetsOut };
      this.#add(counted, this.#last.get(key) ?? NOTHING);
      now.set(key, counted);
    }
    this.#last = now;
  }

  #add(now: IpsecTraffic, before: IpsecTraffic): void {
    const more = (what: keyof IpsecTraffic): number =>
      this.#total[what] + Math.max(0, now[what] - before[what]);
    this.#total = {
      bytesIn: more('bytesIn'),
      packetsIn: more('packetsIn'),
      bytesOut: more('bytesOut'),
      packetsOut: more('packetsOut'),
    };
  }
}
