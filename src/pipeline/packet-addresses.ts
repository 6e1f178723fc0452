/**
 * What is asked of a packet's addresses on its way. Neighbour: `pipeline.ts`.
 */
import { IPV4, type PacketView } from '../wire/packet.ts';

/** 169.254.0.0/16 and fe80::/10, by the first and the last word of an address. */
export function isLinkLocal(family: number, word0: number, word3: number): boolean {
  return family === IPV4 ? (word3 & 0xffff) === 0xfea9 : (word0 & 0xc0ff) === 0x80fe;
}

/** An error must go to whom the quoted packet came from, or it could be aimed at somebody else. */
export function isForQuotedSender(view: PacketView, quote: PacketView): boolean {
  return (
    view.dst3 === quote.src3 &&
    view.dst2 === quote.src2 &&
    view.dst1 === quote.src1 &&
    view.dst0 === quote.src0
  );
}
