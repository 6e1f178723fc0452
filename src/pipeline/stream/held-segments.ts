/**
 * Segments that are held back: a fixed number of places, each with a copy of the segment's headers. Their bytes
 * lie in `stream-pages.ts`.
 *
 * ```
 *   stream: FIRST_HELD ─> [start, end) ─> [start, end) ─> ...      in order; they do not overlap
 * ```
 *
 * Neighbours: `streams.ts` (which are held, and for how long), `held-departure.ts` (makes packets of them again).
 */
import { SiteShares } from '../../flow/site-shares.ts';
import type { FrameMemory } from '../../wire/frame.ts';
import type { PacketView } from '../../wire/packet.ts';
import { FIRST_HELD, HELD } from './stream-layout.ts';

/** Words of a place. */
const PLACE_WORDS = 8;
const NEXT = 0;
/** First sequence number. */
const START = 1;
/** One more than the last, FIN included. */
const END = 2;
/** Port it came in by, as a port word: the slot may be another tunnel's by the time it leaves. */
const PORT_WORD = 3;
/** `gsoType << 16 | gsoSize`. */
const OFFLOAD = 4;
/** Of the IP header and what follows it up to the payload, bytes. */
const HEADER_BYTES = 5;
/** Whose place it is. */
const SPACE = 6;
/** Size of the largest fragment it came in, 0 if it came whole. */
const FRAGMENT_LIMIT = 7;

/** The longest headers that can be held: IPv4 and TCP with all options. */
export const HELD_HEADER_BYTES = 128;
/** Segments that one stream may have held back. */
export const MAX_HELD_OF_STREAM = 256;

export class HeldSegments {
  readonly capacity: number;
  used = 0;
  private readonly bytes: Uint8Array;
  private readonly streams: Int32Array;
  private readonly places: Int32Array;
  private readonly free: Int32Array;
  private readonly headersOffset: number;
  /** Whose places they are. */
  readonly shares = new SiteShares();

  /** `headersOffset`: where {@link HELD_HEADER_BYTES} for each of `capacity` segments begin in packet memory. */
  constructor(memory: FrameMemory, streams: Int32Array, headersOffset: number, capacity: number) {
    this.bytes = memory.bytes;
    this.streams = streams;
    this.capacity = capacity;
    this.headersOffset = headersOffset;
    this.places = new Int32Array(capacity * PLACE_WORDS);
    this.free = new Int32Array(capacity);
    for (let held = 0; held < capacity; held++) this.free[held] = held;
    this.shares.configure(capacity, []);
  }

  /**
   * Whether a stream of this space may hold this segment back, too. What came out of order leaves a half of the places to
   * what is held for a plugin; a space gets half of either, and no place that another site is owed.
   */
  hasRoom(at: number, space: number, view: PacketView, isEarly: boolean): boolean {
    if (view.payloadOffset - view.offset > HELD_HEADER_BYTES) return false;
    if (this.streams[at + HELD] >= MAX_HELD_OF_STREAM) return false;
    const places = isEarly ? this.capacity >>> 1 : this.capacity;
    if (this.used >= places || this.shares.usedBy(space) >= places >>> 1) return false;
    return this.shares.mayTake(space);
  }

  first(at: number): number {
    return this.streams[at + FIRST_HELD];
  }

  /** The one after `held`, or -1. */
  next(held: number): number {
    return this.places[held * PLACE_WORDS + NEXT];
  }

  start(held: number): number {
    return this.places[held * PLACE_WORDS + START];
  }

  end(held: number): number {
    return this.places[held * PLACE_WORDS + END];
  }

  portWord(held: number): number {
    return this.places[held * PLACE_WORDS + PORT_WORD];
  }

  fragmentLimit(held: number): number {
    return this.places[held * PLACE_WORDS + FRAGMENT_LIMIT];
  }

  gsoType(held: number): number {
    return this.places[held * PLACE_WORDS + OFFLOAD] >>> 16;
  }

  gsoSize(held: number): number {
    return this.places[held * PLACE_WORDS + OFFLOAD] & 0xffff;
  }

  headerBytes(held: number): number {
    return this.places[held * PLACE_WORDS + HEADER_BYTES];
  }

  /** Where the headers lie in packet memory. */
  headerOffset(held: number): number {
    return this.headersOffset + held * HELD_HEADER_BYTES;
  }

  /**
   * Holds numbers `start` to `end` of a segment, for which there must be room. What others had of these numbers is
   * theirs no more: those inside are gone, those that reach in are shorter. Their bytes are equal by then.
   */
  insert(
    at: number,
    space: number,
    start: number,
    end: number,
    view: PacketView,
    portWord: number,
    fragmentLimit: number,
  ): void {
    this.cut(at, start, end);
    const { streams, places } = this;
    const held = this.free[this.used];
    this.used++;
    const place = held * PLACE_WORDS;
    places[place + START] = start;
    places[place + END] = end;
    places[place + PORT_WORD] = portWord;
    places[place + SPACE] = space;
    places[place + FRAGMENT_LIMIT] = fragmentLimit;
    this.shares.add(space, 1);
    places[place + OFFLOAD] = (view.gsoType << 16) | view.gsoSize;
    places[place + HEADER_BYTES] = view.payloadOffset - view.offset;
    this.bytes.copyWithin(this.headerOffset(held), view.offset, view.payloadOffset);
    let before = -1;
    let next = streams[at + FIRST_HELD];
    while (next >= 0 && ((places[next * PLACE_WORDS + START] - start) | 0) < 0) {
      before = next;
      next = places[next * PLACE_WORDS + NEXT];
    }
    places[place + NEXT] = next;
    if (before < 0) streams[at + FIRST_HELD] = held;
    else places[before * PLACE_WORDS + NEXT] = held;
    streams[at + HELD]++;
  }

  /** Takes numbers `start` to `end` away from whatever is held. No segment may reach beyond both. */
  cut(at: number, start: number, end: number): void {
    const { streams, places } = this;
    let before = -1;
    let held = streams[at + FIRST_HELD];
    while (held >= 0) {
      const place = held * PLACE_WORDS;
      const next = places[place + NEXT];
      if (((places[place + START] - end) | 0) >= 0) return;
      if (((places[place + END] - start) | 0) <= 0) {
        before = held;
      } else if (((places[place + START] - start) | 0) < 0) {
        places[place + END] = start;
        before = held;
      } else if (((places[place + END] - end) | 0) > 0) {
        places[place + START] = end;
        return;
      } else {
        if (before < 0) streams[at + FIRST_HELD] = next;
        else places[before * PLACE_WORDS + NEXT] = next;
        this.give(at, held);
      }
      held = next;
    }
  }

  /** Whether one segment holds all of `start` to `end`. */
  covers(at: number, start: number, end: number): boolean {
    for (let held = this.first(at); held >= 0; held = this.next(held)) {
      if (((this.start(held) - start) | 0) > 0) return false;
      if (((this.end(held) - end) | 0) >= 0) return true;
    }
    return false;
  }

  /** Takes out all that begin at `seq` or behind; `onDrop` gets the port word of each. Not for every packet. */
  dropFrom(at: number, seq: number, onDrop: (portWord: number) => void): void {
    const { streams, places } = this;
    let before = -1;
    let held = streams[at + FIRST_HELD];
    while (held >= 0 && ((this.start(held) - seq) | 0) < 0) {
      before = held;
      held = this.next(held);
    }
    if (before < 0) streams[at + FIRST_HELD] = -1;
    else places[before * PLACE_WORDS + NEXT] = -1;
    while (held >= 0) {
      const next = this.next(held);
      onDrop(this.portWord(held));
      this.give(at, held);
      held = next;
    }
  }

  /** Takes the first one out, which must be there. */
  shift(at: number): void {
    const held = this.streams[at + FIRST_HELD];
    this.streams[at + FIRST_HELD] = this.places[held * PLACE_WORDS + NEXT];
    this.give(at, held);
  }

  private give(at: number, held: number): void {
    this.used--;
    this.free[this.used] = held;
    this.streams[at + HELD]--;
    this.shares.add(this.places[held * PLACE_WORDS + SPACE], -1);
  }
}
