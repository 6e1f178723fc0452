/**
 * Tells whose connection or datagram a proxy has got: the flow that has its source in the diversion.
 *
 * Neighbours: `pipeline/diversions.ts` (gives the sources), `plugin-messages.ts` (question and answer), `data-plane.ts`.
 */
import {
  FlowKey,
  keyMeta,
  ORIGINATOR,
  RECORD_WORDS,
  REPLY,
  SHARED_ID,
  SHARED_INGRESS,
} from '../flow/layout.ts';
import { readKey } from '../flow/record.ts';
import type { Assembly } from '../pipeline/assembly.ts';
import type { Plan, PlanDiversionPort } from '../pipeline/plan.ts';
import { portIndex } from '../pipeline/port-table.ts';
import type { DivertedFlow } from '../plugin/diversion.ts';
import { DIVERSION_PROXY } from '../plugin/diversion-addresses.ts';
import { formatAddressWords, parseAddress } from '../wire/address.ts';
import { swap16 } from '../wire/byte-order.ts';
import { IPV4, PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/packet.ts';
import type { DivertedRequest } from './plugin-messages.ts';

/** The flow; null: there is none, or none any more. */
export function divertedFlow(
  request: DivertedRequest,
  assembly: Assembly | undefined,
  plan: Plan | undefined,
): DivertedFlow | null {
  const port = plan?.ports.find(
    (candidate): candidate is PlanDiversionPort =>
      candidate.role === 'diversion' && candidate.name === request.port,
  );
  const source = parseAddress(request.address);
  if (assembly === undefined || plan === undefined || port === undefined || source === undefined) return null;
  const listener = port[request.protocol];
  if (listener === null || !(request.sourcePort > 0 && request.sourcePort < 65536)) return null;
  const protocol = request.protocol === 'tcp' ? PROTOCOL_TCP : PROTOCOL_UDP;
  const proxy = parseAddress(source.family === IPV4 ? DIVERSION_PROXY.ipv4 : DIVERSION_PROXY.ipv6)!;
  // What the proxy's answer would look like.
  const key = new FlowKey();
  [key.src0, key.src1, key.src2, key.src3] = proxy.words as unknown as [number, number, number, number];
  [key.dst0, key.dst1, key.dst2, key.dst3] = source.words as unknown as [number, number, number, number];
  key.ports = swap16(listener) | (swap16(request.sourcePort) << 16);
  key.meta = keyMeta(port.space, protocol, source.family);
  const { table } = assembly.state;
  const reference = table.findKey(key);
  if (reference < 0 || (reference & 1) !== REPLY) return null;
  const record = reference >> 1;
  readKey(table.words, record, ORIGINATOR, key);
  const ingress = portIndex(table.words[record * RECORD_WORDS + SHARED_INGRESS]!);
  const space = key.meta >>> 16;
  const family = key.meta & 0xff;
  return {
    flow: table.words[record * RECORD_WORDS + SHARED_ID]! >>> 0,
    space,
    site: plan.spaces.find(({ id }) => id === space)?.name ?? '',
    ingress: plan.ports.find(({ index }) => index === ingress)?.name ?? '',
    source: formatAddressWords(family, key.src0, key.src1, key.src2, key.src3),
    sourcePort: swap16(key.ports & 0xffff),
    destination: formatAddressWords(family, key.dst0, key.dst1, key.dst2, key.dst3),
    destinationPort: swap16(key.ports >>> 16),
  };
}
