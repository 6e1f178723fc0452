import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { ChildSa, IkeSa } from '../../vici/views.ts';
import { SaTraffic } from './sa-traffic.ts';

function child(uniqueId: string, bytes: number): ChildSa {
  const counted = { bytesIn: bytes, packetsIn: bytes / 100, bytesOut: 2 * bytes, packetsOut: bytes / 50 };
  return { uniqueId, spiIn: `c${uniqueId}`, ...counted } as ChildSa;
}
const sa = (...children: readonly ChildSa[]): IkeSa => ({ children }) as unknown as IkeSa;

it('goes on counting when an SA takes the place of another', () => {
  const traffic = new SaTraffic();
  traffic.look([sa(child('1', 1000))]);
  traffic.look([sa(child('1', 1500))]);
  // Rekeyed: the old one is still there for what is under way.
  traffic.look([sa(child('1', 1600), child('2', 300))]);
  traffic.look([sa(child('2', 400))]);
  traffic.look([]);
  // Another daemon gives the same id.
  traffic.look([sa({ ...child('2', 100), spiIn: 'other' })]);
  assert.deepEqual(traffic.total, { bytesIn: 2100, packetsIn: 21, bytesOut: 4200, packetsOut: 42 });
  traffic.rekeyed('child');
  assert.deepEqual(traffic.rekeyings, { ike: 0, child: 1 });
});
