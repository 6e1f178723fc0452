/**
 * TCP as it is seen from between the endpoints: which state each of them is in, and which segments can be
 * theirs (RFC 9293 3.3.2, 3.4, 3.10.7; RFC 7323 2; RFC 5961; RFC 5382 REQ-1, REQ-5; RFC 7413).
 *
 * For each endpoint we keep the state of what it sends: its SYN, its data, its FIN.
 *
 * ```
 *   NONE --SYN--> SYN_SENT --peer acknowledges--> ESTABLISHED --FIN--> FIN_SENT --peer acknowledges--> FIN_ACKED
 *                     |                                                   ^
 *                     +------------------------FIN------------------------+
 *   both, from anywhere --reset that is exactly expected--> RESET
 *
 *   originator     reply          the connection
 *   SYN_SENT       NONE           opening: SYN seen
 *   SYN_SENT       SYN_SENT       opening: simultaneous open
 *   ESTABLISHED    SYN_SENT       opening: SYN-ACK seen
 *   ESTABLISHED    ESTABLISHED    established
 *   one FIN_SENT or FIN_ACKED     closing
 *   FIN_ACKED      FIN_ACKED      closed (TIME-WAIT)
 *   RESET          RESET          closed
 * ```
 *
 * Windows. For each endpoint: `end`, one more than the highest sequence number it has sent; `acked`, the highest
 * number its peer has acknowledged; `window`, the largest window it has offered, in bytes. With W the peer's
 * window, a segment of an endpoint is taken if it could touch what the peer would take or has just taken, and
 * acknowledges only what the peer has sent:
 *
 * ```
 *        acked - W - 1             acked       end         acked + W
 *   ----------+----------------------+----------+--------------+------------> sequence numbers
 *             |<-- retransmissions ->|<-------- new data ----->|
 *             a segment must end behind this      and begin no later than this
 * ```
 *
 * Every number here was seen by us before it reached the peer, so what two correct endpoints send is taken
 * however segments are lost, doubled or overtaken, short of an old duplicate from more than a window ago.
 *
 * What does not fit:
 * - **Reset.** Ends the flow if its number is `end` or `acked`: the two values that the peer can be expecting for
 *   all we know. Elsewhere in the window it is passed on and changes nothing: the peer answers with a challenge
 *   ACK (RFC 5961 3.2). Outside the window it is dropped.
 * - **SYN in a connection.** The originator's is passed on and changes nothing: a peer that is alive answers with
 *   a challenge ACK (RFC 5961 4.2), by which an originator that restarted resets the old connection. If the peer
 *   answers with a SYN-ACK instead, it has no connection either: ours is marked reset, and the next SYN reopens.
 *   A SYN of the reply direction has no such use and is dropped.
 * - **ACK before a SYN-ACK.** A bare one is passed on and changes nothing: the peer has an old connection under
 *   this tuple, and the originator will reset it (RFC 9293 3.5.1); that reset is passed on, too.
 * - **SYN in a closed connection** (TIME-WAIT). Reopens it ({@link TCP_REOPEN}) if its number is higher than any
 *   before (RFC 9293 3.6.1), if the connection was reset, or if the originator closed first (so that the peer is
 *   not in TIME-WAIT) and the number is clear of the old window. Otherwise it is passed on and changes nothing.
 *
 * Neighbours: `flow/tcp-endpoint.ts` (the state words); the pipeline maps the `TCP_...` answers to drop reasons
 * and keeps the flow's time-out class by {@link tcpTimeoutClass}.
 */
import { type PacketView, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from '../wire/packet.ts';
import {
  ORIGINATOR,
  RECORD_WORDS,
  REPLY,
  SHARED_TCP,
  SHARED_TCP_ORIGINATOR,
  SHARED_TCP_REPLY,
} from './layout.ts';
import {
  ACKED,
  END,
  endOf,
  finSent,
  isClosed,
  openEndpoint,
  REPLY_CLOSED_FIRST,
  repeatSyn,
  STATE_ESTABLISHED,
  STATE_FIN_ACKED,
  STATE_FIN_SENT,
  STATE_NONE,
  STATE_RESET,
  STATE_SYN_SENT,
  SYN_PENDING,
  scaleOf,
  setReset,
  setState,
  stateOf,
  WINDOW,
  wordsOf,
} from './tcp-endpoint.ts';
import {
  TIMEOUT_TCP_CLOSED,
  TIMEOUT_TCP_CLOSING,
  TIMEOUT_TCP_ESTABLISHED,
  TIMEOUT_TCP_OPENING,
} from './timeouts.ts';

/** The segment may pass. */
export const TCP_OK = 0;
/** The segment does not fit the state of the connection. */
export const TCP_BAD_STATE = 1;
/** The segment's sequence or acknowledgment number is outside the window. */
export const TCP_OUT_OF_WINDOW = 2;
/** A reset whose number its receiver would not take. */
export const TCP_BAD_RESET = 3;
/** A SYN that opens a closed connection anew: the flow ends, and a new one of the same tuple begins with it. */
export const TCP_REOPEN = 4;

/** Acknowledgments this old are taken whatever the windows are: a receiver's may be small. */
const MIN_ACK_RANGE = 65536;
/** Both endpoints established, and nothing pending: such a connection changes its state by FIN, RST and SYN only. */
const STEADY = STATE_ESTABLISHED | (STATE_ESTABLISHED << 8);
const STEADY_MASK = 0xffff | SYN_PENDING;

/** Begins tracking: `view` is the SYN that makes the flow. Writes all of the record's TCP words. */
export function startTcp(words: Int32Array, record: number, view: PacketView): void {
  const base = record * RECORD_WORDS;
  words[base + SHARED_TCP] = 0;
  words[base + SHARED_TCP_REPLY + END] = 0;
  words[base + SHARED_TCP_REPLY + ACKED] = 0;
  words[base + SHARED_TCP_REPLY + WINDOW] = 0;
  openEndpoint(words, base, ORIGINATOR, view);
}

/**
 * Checks a segment of a flow against what is known of its connection, and takes over what it says. `words` are
 * the table's; `direction` is the one the segment travels in. Returns {@link TCP_OK}, or why it must not pass
 * (then nothing has changed, but for a SYN-ACK that shows the connection to be gone), or {@link TCP_REOPEN}.
 */
export function trackTcp(words: Int32Array, record: number, direction: number, view: PacketView): number {
  const base = record * RECORD_WORDS;
  const flags = view.tcpFlags & (TCP_SYN | TCP_RST | TCP_FIN | TCP_ACK);
  if (flags === TCP_ACK || flags === (TCP_ACK | TCP_FIN)) return trackSegment(words, base, direction, view);
  if (flags === (TCP_SYN | TCP_ACK)) return trackSynAck(words, base, direction, view);
  if (flags === TCP_SYN) return trackSyn(words, base, direction, view);
  if (flags === TCP_RST || flags === (TCP_RST | TCP_ACK)) return trackReset(words, base, direction, view);
  return TCP_BAD_STATE;
}

/** The time-out class of a connection in its present state. */
export function tcpTimeoutClass(words: Int32Array, record: number): number {
  const tcp = words[record * RECORD_WORDS + SHARED_TCP]!;
  const originator = stateOf(tcp, ORIGINATOR);
  const reply = stateOf(tcp, REPLY);
  if (originator === STATE_ESTABLISHED && reply === STATE_ESTABLISHED) return TIMEOUT_TCP_ESTABLISHED;
  if (isClosed(tcp)) return TIMEOUT_TCP_CLOSED;
  if (originator >= STATE_FIN_SENT || reply >= STATE_FIN_SENT) return TIMEOUT_TCP_CLOSING;
  return TIMEOUT_TCP_OPENING;
}

/** An endpoint's state: a number of {@link TCP_STATE_NAMES}. */
export function tcpEndpointState(words: Int32Array, record: number, direction: number): number {
  return stateOf(words[record * RECORD_WORDS + SHARED_TCP]!, direction);
}

/**
 * Whether the sequence number of a segment that an ICMP error quotes is one that the segment's sender has sent
 * recently (RFC 5927 4.1). `direction` is the one the **quoted segment** travelled in.
 */
export function checkQuotedSequence(
  words: Int32Array,
  record: number,
  direction: number,
  quoted: PacketView,
): boolean {
  const base = record * RECORD_WORDS;
  if (stateOf(words[base + SHARED_TCP]!, direction) === STATE_NONE) return false;
  const own = base + wordsOf(direction);
  const oldest = words[own + ACKED]! - words[base + wordsOf(direction ^ 1) + WINDOW]! - 1;
  return ((quoted.sequence - oldest) | 0) >= 0 && ((words[own + END]! - quoted.sequence) | 0) >= 0;
}

/** A segment with ACK, perhaps with data or FIN; also a SYN-ACK that opens nothing any more. */
function trackSegment(words: Int32Array, base: number, direction: number, view: PacketView): number {
  const own = base + wordsOf(direction);
  const peer = base + wordsOf(direction ^ 1);
  const tcp = words[base + SHARED_TCP]!;
  const steady = (tcp & STEADY_MASK) === STEADY;
  if (!steady) {
    if (stateOf(tcp, direction) === STATE_NONE) {
      return view.payloadLength === 0 && (view.tcpFlags & TCP_FIN) === 0 ? TCP_OK : TCP_BAD_STATE;
    }
    if (stateOf(tcp, direction ^ 1) === STATE_NONE) return TCP_BAD_STATE;
  }
  const end = endOf(view);
  const acknowledgment = view.acknowledgment;
  const ownEnd = words[own + END]!;
  const ownWindow = words[own + WINDOW]!;
  const peerEnd = words[peer + END]!;
  const peerAcked = words[peer + ACKED]!;
  if (!isInWindow(words[own + ACKED]!, words[peer + WINDOW]!, view.sequence, end)) return TCP_OUT_OF_WINDOW;
  if (((acknowledgment - peerEnd) | 0) > 0) return TCP_OUT_OF_WINDOW;
  const ahead = (acknowledgment - peerAcked) | 0;
  if (((ahead + (ownWindow > MIN_ACK_RANGE ? ownWindow : MIN_ACK_RANGE)) | 0) < 0) return TCP_OUT_OF_WINDOW;

  if (ahead > 0) words[peer + ACKED] = acknowledgment;
  if (((end - ownEnd) | 0) > 0) words[own + END] = end;
  const window = view.window << ((view.tcpFlags & TCP_SYN) === 0 ? scaleOf(tcp, direction) : 0);
  if (window > ownWindow) words[own + WINDOW] = window;
  if (steady && (view.tcpFlags & TCP_FIN) === 0) return TCP_OK;

  if (ahead > 0 && stateOf(tcp, direction ^ 1) === STATE_SYN_SENT)
    setState(words, base, direction ^ 1, STATE_ESTABLISHED);
  if ((view.tcpFlags & TCP_FIN) !== 0) finSent(words, base, direction);
  const finAcked = (ahead > 0 ? acknowledgment : peerAcked) === peerEnd;
  if (finAcked && stateOf(tcp, direction ^ 1) === STATE_FIN_SENT) {
    setState(words, base, direction ^ 1, STATE_FIN_ACKED);
  }
  if ((tcp & SYN_PENDING) !== 0) words[base + SHARED_TCP]! &= ~SYN_PENDING;
  return TCP_OK;
}

/** A SYN without ACK. */
function trackSyn(words: Int32Array, base: number, direction: number, view: PacketView): number {
  const own = base + wordsOf(direction);
  const tcp = words[base + SHARED_TCP]!;
  const state = stateOf(tcp, direction);
  if (isClosed(tcp)) return direction === ORIGINATOR ? trackSynWhenClosed(words, base, view) : TCP_BAD_STATE;
  if (state === STATE_NONE) {
    openEndpoint(words, base, direction, view);
    return TCP_OK;
  }
  if (state === STATE_SYN_SENT) {
    if (view.sequence === words[own + ACKED]) {
      repeatSyn(words, base, direction, view);
      return TCP_OK;
    }
    // Nobody has answered yet: the originator has given up its first attempt and makes another.
    if (direction === ORIGINATOR && stateOf(tcp, REPLY) === STATE_NONE) {
      openEndpoint(words, base, direction, view);
      return TCP_OK;
    }
  }
  if (direction === REPLY) return TCP_BAD_STATE;
  words[base + SHARED_TCP] = tcp | SYN_PENDING;
  return TCP_OK;
}

/** The originator's SYN in a closed connection. */
function trackSynWhenClosed(words: Int32Array, base: number, view: PacketView): number {
  const own = base + SHARED_TCP_ORIGINATOR;
  const tcp = words[base + SHARED_TCP]!;
  if (stateOf(tcp, ORIGINATOR) === STATE_RESET) return TCP_REOPEN;
  if (((view.sequence - words[own + END]!) | 0) > 0) return TCP_REOPEN;
  if ((tcp & REPLY_CLOSED_FIRST) !== 0) return TCP_OK;
  const oldest = words[own + ACKED]! - words[base + SHARED_TCP_REPLY + WINDOW]! - 1;
  return ((view.sequence - oldest) | 0) < 0 ? TCP_REOPEN : TCP_OK;
}

/** A SYN with ACK. */
function trackSynAck(words: Int32Array, base: number, direction: number, view: PacketView): number {
  const own = base + wordsOf(direction);
  const peer = base + wordsOf(direction ^ 1);
  const tcp = words[base + SHARED_TCP]!;
  const state = stateOf(tcp, direction);
  const peerState = stateOf(tcp, direction ^ 1);
  if (state <= STATE_SYN_SENT && peerState !== STATE_NONE) {
    const acknowledgment = view.acknowledgment;
    const ahead = (acknowledgment - words[peer + ACKED]!) | 0;
    const sent = ((acknowledgment - words[peer + END]!) | 0) <= 0;
    if (state === STATE_SYN_SENT && view.sequence === words[own + ACKED] && sent && ahead >= -MIN_ACK_RANGE) {
      repeatSyn(words, base, direction, view);
    } else if (direction === REPLY && sent && ahead >= (peerState === STATE_SYN_SENT ? 1 : 0)) {
      // Perhaps not the first: one that keeps no state (SYN cookies) may answer a repeated SYN with a new number.
      openEndpoint(words, base, direction, view);
    } else if (state === STATE_NONE && view.payloadLength === 0) {
      return TCP_OK;
    } else {
      return refuseSynAck(words, base, direction);
    }
    if (ahead > 0) words[peer + ACKED] = acknowledgment;
    if (peerState === STATE_SYN_SENT) setState(words, base, direction ^ 1, STATE_ESTABLISHED);
    return TCP_OK;
  }
  if (state === STATE_NONE || peerState === STATE_NONE) return TCP_BAD_STATE;
  // Repeated, or the second answer of a simultaneous open.
  if (trackSegment(words, base, direction, view) === TCP_OK) return TCP_OK;
  return refuseSynAck(words, base, direction);
}

/**
 * A SYN-ACK that is none of this connection's. If it may answer a SYN that was passed on, then the responder has
 * no connection, and the next SYN is to reopen ours.
 */
function refuseSynAck(words: Int32Array, base: number, direction: number): number {
  if (direction === REPLY && (words[base + SHARED_TCP]! & SYN_PENDING) !== 0) setReset(words, base);
  return TCP_OUT_OF_WINDOW;
}

/** A reset, with ACK or without. */
function trackReset(words: Int32Array, base: number, direction: number, view: PacketView): number {
  const own = base + wordsOf(direction);
  const peer = base + wordsOf(direction ^ 1);
  const tcp = words[base + SHARED_TCP]!;
  const state = stateOf(tcp, direction);
  const sequence = view.sequence;
  if (state === STATE_NONE) {
    // The answer to a SYN: it must acknowledge what the SYN sent (RFC 9293 3.10.7.3).
    if ((view.tcpFlags & TCP_ACK) === 0) return TCP_BAD_RESET;
    if (((view.acknowledgment - words[peer + END]!) | 0) > 0) return TCP_BAD_RESET;
    if (((view.acknowledgment - words[peer + ACKED]!) | 0) <= 0) return TCP_BAD_RESET;
  } else if (state === STATE_SYN_SENT) {
    const first = (words[own + ACKED]! + 1) | 0;
    if (sequence !== first && sequence !== words[own + END]) {
      return direction === ORIGINATOR && stateOf(tcp, REPLY) === STATE_NONE ? TCP_OK : TCP_BAD_RESET;
    }
  } else if (sequence !== words[own + END] && sequence !== words[own + ACKED]) {
    const ahead = (sequence - words[own + ACKED]!) | 0;
    return ahead >= 0 && ahead <= words[peer + WINDOW]! ? TCP_OK : TCP_BAD_RESET;
  }
  setReset(words, base);
  return TCP_OK;
}

/** Whether a segment from `sequence` up to `end` can be of use to its receiver. See the drawing above. */
function isInWindow(acked: number, window: number, sequence: number, end: number): boolean {
  return ((sequence - acked - window) | 0) <= 0 && ((end - acked + window + 1) | 0) >= 0;
}
