/** How many packets a packet will be on the wire, once an offload has cut it. */
import { GSO_NONE, type PacketView } from '../wire/packet.ts';

/** 1 for a packet that is as it was on the wire, else the number of its segments, at least 1. */
export function segmentsOf(view: PacketView): number {
  if (view.gsoType === GSO_NONE || view.gsoSize <= 0) return 1;
  const segments = ((view.payloadLength + view.gsoSize - 1) / view.gsoSize) | 0;
  return segments > 0 ? segments : 1;
}
