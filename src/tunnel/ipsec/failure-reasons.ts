/**
 * Why a tunnel does not come up, from what the daemon logs: VICI's answers and events say only that it failed.
 *
 * The daemon's texts are not stable by contract; a line that is not known here gives no reason, and the failure is
 * told without one.
 */

/** What a failure says of the peer: it does not answer, it was reached and there is no agreement, nothing. */
export type PeerAnswer = 'silent' | 'refused' | 'unknown';

interface Pattern {
  readonly seen: RegExp;
  /** `$1`: what the first group has found. */
  readonly reason: string;
  /** Default: `refused`, as only a peer that was reached, or has called, brings most of these about. */
  readonly peer?: PeerAnswer;
}

/** What is said where the daemon says nothing. */
export const NO_ANSWER = 'the peer does not answer';

/** In the order of their worth: a line is read by the first that fits. */
const PATTERNS: readonly Pattern[] = [
  {
    seen: /received AUTHENTICATION_FAILED notify/,
    reason: 'the peer refuses our authentication; compare secrets and identities at both ends',
  },
  {
    seen: /but MAC mismatched/,
    reason: "the peer's pre-shared key is another one; compare the secrets at both ends",
  },
  {
    seen: /no shared key found/,
    reason:
      'the peer comes with identities that no secret is for; compare local_id and remote_id at both ends',
  },
  {
    seen: /received NO_PROPOSAL_CHOSEN notify/,
    // strongSwan says the same when it has no connection for these two addresses.
    reason:
      'the peer takes none of our proposals, or has no connection for these addresses; compare local, remote, ike.proposals and child.proposals with its own',
  },
  {
    seen: /no (?:acceptable )?proposal (?:found|chosen)|received proposals unacceptable/,
    reason:
      'none of the proposals of the peer is ours; compare ike.proposals and child.proposals with its own',
  },
  {
    seen: /received TS_UNACCEPTABLE notify|traffic selectors .* unacceptable/,
    reason: 'the peer does not take the traffic selectors 0.0.0.0/0 and ::/0, nor a part of them',
  },
  {
    seen: /no matching peer config found|no peer config found/,
    reason: 'the peer comes with other identities; compare local_id and remote_id at both ends',
  },
  {
    seen: /subject certificate invalid \((.+?)\)|certificate (?:has expired|is not valid)(.*)/,
    reason: 'a certificate is not valid now ($1)',
  },
  {
    seen: /no trusted (?:RSA |ECDSA |EdDSA )?public key found for '(.+?)'/,
    reason: 'no trusted certificate of the peer $1; look at its certificate and at certificate.ca',
  },
  {
    seen: /no private key found for '(.+?)'/,
    reason: 'no private key fits the certificate of $1',
    peer: 'unknown',
  },
  {
    seen: /giving up after \d+ retransmits|peer not responding, trying again/,
    reason: NO_ANSWER,
    peer: 'silent',
  },
  { seen: /received DELETE for IKE_SA/, reason: 'the peer has closed the connection' },
  {
    seen: /error sending (?:to|packet)|sending packet .* failed/,
    reason: 'packets to the peer cannot be sent',
    peer: 'unknown',
  },
];

/** What a line of the daemon's log says about why a tunnel is not up; undefined if nothing. */
export function failureReason(line: string): string | undefined {
  for (const { seen, reason } of PATTERNS) {
    const match = seen.exec(line);
    if (match !== null) return reason.replace('$1', match[1]?.trim() ?? 'see the log');
  }
  return undefined;
}

/** What a reason that a tunnel is down for says of the peer; of one that is not from here, nothing. */
export function peerAnswer(reason: string): PeerAnswer {
  const pattern = PATTERNS.find(({ reason: words }) => {
    const [begin, end] = words.split('$1');
    return end === undefined ? reason === words : reason.startsWith(begin!) && reason.endsWith(end);
  });
  return pattern === undefined ? 'unknown' : (pattern.peer ?? 'refused');
}
