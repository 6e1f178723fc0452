/**
 * IPFIX messages (RFC 7011, 3): sets of one kind behind a header, no longer than the transport can take.
 *
 * ```
 *   0               2               4                              8               12              16
 *  +---------------+---------------+------------------------------+---------------+---------------+-----
 *  | version 10    | length        | export time, s since 1970    | sequence      | domain        | sets
 *  +---------------+---------------+------------------------------+---------------+---------------+-----
 *  a set: [ id, 16 bit | length with this header, 16 bit | records ... ]
 *         id 2: templates, 3: options templates, from 256: data of that template
 * ```
 *
 * The sequence number is that of the first data record in the message, counted in its transport session.
 */
import { type DataRecord, templateRecord } from './records.ts';
import type { Template } from './templates.ts';

const VERSION = 10;
const HEADER_BYTES = 16;
const SET_HEADER_BYTES = 4;
const TEMPLATE_SET = 2;
const OPTIONS_TEMPLATE_SET = 3;

/** A finished message. */
export interface Message {
  readonly bytes: Buffer;
  /** Data records in it. */
  readonly records: number;
}

export class MessageWriter {
  readonly #domain: number;
  readonly #buffer: Buffer;
  #length = HEADER_BYTES;
  #setAt = 0;
  #setId = 0;
  #records = 0;
  #sequence = 0;
  #finished: Message[] = [];

  /** @param maxBytes of a message; at least 512 */
  constructor(domain: number, maxBytes: number) {
    this.#domain = domain;
    this.#buffer = Buffer.alloc(Math.min(maxBytes, 0xffff));
  }

  /** Begins a new transport session: sequence numbers count from 0. What is unfinished is given up. */
  restart(): void {
    this.#sequence = 0;
    this.#clear();
    this.#finished = [];
  }

  addTemplates(templates: readonly Template[], nowMs: number): void {
    for (const template of templates) {
      const set = template.scopes === 0 ? TEMPLATE_SET : OPTIONS_TEMPLATE_SET;
      this.#add(set, templateRecord(template), 0, nowMs);
    }
  }

  addRecord({ template, bytes }: DataRecord, nowMs: number): void {
    this.#add(template.id, bytes, 1, nowMs);
  }

  /** All messages since the last call, the one that is not full among them. */
  take(nowMs: number): Message[] {
    this.#finish(nowMs);
    const finished = this.#finished;
    this.#finished = [];
    return finished;
  }

  #add(setId: number, record: Buffer, records: number, nowMs: number): void {
    const needed = record.length + (this.#setId === setId ? 0 : SET_HEADER_BYTES);
    if (this.#length + needed > this.#buffer.length) this.#finish(nowMs);
    if (this.#setId !== setId) {
      this.#setAt = this.#length;
      this.#setId = setId;
      this.#buffer.writeUInt16BE(setId, this.#length);
      this.#length += SET_HEADER_BYTES;
    }
    record.copy(this.#buffer, this.#length);
    this.#length += record.length;
    this.#records += records;
    this.#buffer.writeUInt16BE(this.#length - this.#setAt, this.#setAt + 2);
  }

  #finish(nowMs: number): void {
    if (this.#length === HEADER_BYTES) return;
    const bytes = Buffer.from(this.#buffer.subarray(0, this.#length));
    bytes.writeUInt16BE(VERSION, 0);
    bytes.writeUInt16BE(this.#length, 2);
    bytes.writeUInt32BE(Math.floor(nowMs / 1000) >>> 0, 4);
    bytes.writeUInt32BE(this.#sequence, 8);
    bytes.writeUInt32BE(this.#domain, 12);
    this.#sequence = (this.#sequence + this.#records) >>> 0;
    this.#finished.push({ bytes, records: this.#records });
    this.#clear();
  }

  #clear(): void {
    this.#length = HEADER_BYTES;
    this.#setId = 0;
    this.#records = 0;
  }
}
