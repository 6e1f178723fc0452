/** An `ipsec` tunnel's SAs and certificates as rows of a table. */
import type { IpsecBody } from '../api/schemas/ipsec.ts';
import { durationText } from './duration.ts';
import { shortNumber } from './table.ts';
import { paint } from './terminal.ts';

const DAY_MS = 24 * 3_600_000;
/** As the gateway's log warns. */
const WARNING_MS = 30 * DAY_MS;
const WHOSE = { own: 'own certificate', authority: 'authority', peer: "peer's certificate" };

export function ipsecRows(ipsec: IpsecBody, now = Date.now()): string[][] {
  const { localId, remoteId, ike, child, traffic, rekeyings, certificates } = ipsec;
  return [
    ['identities', `${localId} with ${remoteId}`],
    ...(ike === null
      ? []
      : [
          [
            'peer',
            `${ike.peer} port ${ike.peerPort}${ike.translated ? ', with a translator on the way' : ''}`,
          ],
          ['ike', `${ike.proposal}${timesOf(ike.establishedSeconds, ike.rekeySeconds, rekeyings.ike)}`],
        ]),
    ...(child === null
      ? []
      : [
          [
            'esp',
            `${child.proposal}${child.encapsulated ? ' in UDP' : ''}${timesOf(child.installedSeconds, child.rekeySeconds, rekeyings.child)}`,
          ],
          ['selectors', `${child.localSelectors.join(', ')} with ${child.remoteSelectors.join(', ')}`],
        ]),
    ['esp in', `${traffic.packetsIn} packets, ${shortNumber(traffic.bytesIn)}B`],
    ['esp out', `${traffic.packetsOut} packets, ${shortNumber(traffic.bytesOut)}B`],
    ...certificates.map(({ whose, subject, ends }) => [
      WHOSE[whose],
      `${subject}, ${endText(Date.parse(ends) - now)} ${ends}`,
    ]),
  ];
}

function timesOf(seconds: number, rekeySeconds: number | null, rekeyings: number): string {
  const next = rekeySeconds === null ? '' : `, rekeyed in ${durationText(Math.max(0, rekeySeconds) * 1000)}`;
  return `, ${durationText(seconds * 1000)} old${next}, ${rekeyings} rekeyings`;
}

function endText(leftMs: number): string {
  if (leftMs <= 0) return paint('red', 'has ended');
  if (leftMs <= WARNING_MS) return paint('yellow', `ends in ${durationText(leftMs)}:`);
  return 'ends';
}
