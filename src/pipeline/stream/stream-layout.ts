/**
 * What is known of one direction of a flow whose bytes plugins read: 64 words, two such blocks a flow.
 *
 * Positions are TCP sequence numbers, int32, compared by difference. A FIN takes one, as in TCP.
 *
 * ```
 *        LOW                    JUDGED               NEXT
 *  ───────┼────────────────────────┼───────────────────┼───────────  ▒▒▒▒  ────  ▒▒▒▒▒▒ ──>
 *  acked: │ delivered,             │ held back:        │ missing     held back: came out of order
 *  for-   │ remembered until the   │ shown to plugins, │
 *  gotten │ receiver acknowledges  │ one needs more    │
 * ```
 *
 * Neighbours: `stream-table.ts` (whose blocks these are), `streams.ts` (the rules).
 */

/** Words of a direction's block. */
export const STREAM_WORDS = 64;

/** Bits, `STREAM_...` below. */
export const FLAGS = 0;
/** The first byte's number: one more than the SYN's. */
export const START = 1;
/** Everything before it has come and was shown to the plugins that want it. */
export const NEXT = 2;
/** Everything before it may be delivered, and was. */
export const JUDGED = 3;
/** Everything before it was acknowledged by the receiver and is forgotten. */
export const LOW = 4;
/** The FIN's number; see {@link FINISHED}. */
export const FIN_AT = 5;
/** From here on nobody reads; see {@link UNREAD}. */
export const DONE_AT = 6;
/** Plugins that still read, a bit each. */
export const READERS = 7;
/** Of those: plugins without a limit. */
export const UNLIMITED = 8;
/** Pages of remembered bytes, in order; -1 for none. */
export const FIRST_PAGE = 9;
export const LAST_PAGE = 10;
export const PAGES = 11;
/** Held segments, in order; -1 for none. */
export const FIRST_HELD = 12;
export const HELD = 13;
/** When something came out of order, and nothing missing has come since. Milliseconds since boot, like all times here. */
export const GAP_SINCE = 14;
/** When bytes were held back because a plugin needs more. */
export const UNDECIDED_SINCE = 15;
/** When anything was delivered or acknowledged, or the stream began. */
export const PROGRESS = 16;
/** The window field of the receiver's last segment. */
export const PEER_WINDOW = 17;
/** Its last time stamp; see {@link HAS_PEER_STAMP}. */
export const PEER_STAMP = 18;
/** The sender's last time stamp of a segment that was not early. */
export const RECENT_STAMP = 19;
/** 16 words: the first byte that a plugin has not decided on, by place in the chain. */
export const FROM = 24;
/** 16 words: the first byte that a plugin does not want any more. */
export const LIMIT = 40;

/** START is known: the SYN was seen. Taken back when nobody reads any more and all that was read is acknowledged. */
export const OPEN = 1;
/** FIN_AT is known. */
export const FINISHED = 2;
/** No plugin reads any more; while it is OPEN, what was inspected and not acknowledged is still compared. */
export const UNREAD = 4;
/** The connection was reset: no byte is delivered any more. */
export const DEAD = 8;
/** The sender's SYN says that it understands selective acknowledgments. */
export const TAKES_SACK = 16;
/** The receiver sends time stamps. */
export const HAS_PEER_STAMP = 32;
