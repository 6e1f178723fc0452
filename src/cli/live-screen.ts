/**
 * The terminal as a screen that is drawn over and over, with plain ANSI (ECMA-48) sequences, and given back as it was,
 * however the command ends.
 */

import { paint } from './terminal.ts';
import type { ScreenSize } from './top-screen.ts';

const ENTER = '\u001b[?1049h\u001b[?25l';
const LEAVE = '\u001b[?25h\u001b[?1049l';
const HOME = '\u001b[H';
const CLEAR_LINE = '\u001b[K';
const CLEAR_BELOW = '\u001b[J';
const CTRL_C = '\u0003';
const CTRL_D = '\u0004';

export class LiveScreen {
  /** Shown in the last line, after the keys. */
  remark = '';
  readonly #keys: string;
  readonly #ended = Promise.withResolvers<void>();
  #isEnded = false;
  #lines: (size: ScreenSize) => readonly string[] = () => [];

  /** Takes the terminal. `keys`: what the last line says of the keys. */
  constructor(keys: string) {
    this.#keys = keys;
    process.stdin.setRawMode(true);
    process.stdin.resume();
    process.stdin.on('data', this.#onKey);
    process.stdout.on('resize', this.#redraw);
    process.on('SIGINT', this.#end).on('SIGTERM', this.#end).on('SIGHUP', this.#end);
    process.once('exit', this.#giveBack);
    process.stdout.write(ENTER);
  }

  /** Shows these lines; asks for them again when the terminal changes its size. */
  draw(lines: (size: ScreenSize) => readonly string[]): void {
    this.#lines = lines;
    this.#redraw();
  }

  /** Waits, unless the user ends it: then it resolves to true. */
  async endsWithin(ms: number): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const passed = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ms);
    });
    await Promise.race([passed, this.#ended.promise]);
    clearTimeout(timer);
    return this.#isEnded;
  }

  close(): void {
    process.off('exit', this.#giveBack);
    process.off('SIGINT', this.#end).off('SIGTERM', this.#end).off('SIGHUP', this.#end);
    process.stdout.off('resize', this.#redraw);
    process.stdin.off('data', this.#onKey);
    process.stdin.pause();
    this.#giveBack();
  }

  readonly #onKey = (keys: Buffer): void => {
    const typed = keys.toString('latin1');
    if (['q', 'Q', CTRL_C, CTRL_D].some((key) => typed.includes(key))) this.#end();
  };

  readonly #end = (): void => {
    this.#isEnded = true;
    this.#ended.resolve();
  };

  readonly #redraw = (): void => {
    const size = { columns: process.stdout.columns || 80, rows: process.stdout.rows || 24 };
    const last = this.remark === '' ? this.#keys : `${this.#keys}  ${this.remark}`;
    const lines = this.#lines(size).slice(0, size.rows - 1);
    while (lines.length < size.rows - 1) lines.push('');
    const shown = [...lines, paint('inverse', last.slice(0, size.columns))];
    process.stdout.write(HOME + shown.map((line) => line + CLEAR_LINE).join('\r\n') + CLEAR_BELOW);
  };

  readonly #giveBack = (): void => {
    process.stdin.setRawMode(false);
    process.stdout.write(LEAVE);
  };
}
