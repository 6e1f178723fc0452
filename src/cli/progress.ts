/** How far something long has come: one line on the standard error, on a terminal only, gone at the end. */
export class Progress {
  readonly #what: string;
  readonly #total: number;
  readonly #visible = process.stderr.isTTY === true;

  /** @param what for example `tunnels tested` */
  constructor(what: string, total: number) {
    this.#what = what;
    this.#total = total;
    this.show(0);
  }

  show(done: number): void {
    if (this.#visible) process.stderr.write(`\r\u001b[K${done} of ${this.#total} ${this.#what} ...`);
  }

  end(): void {
    if (this.#visible) process.stderr.write('\r\u001b[K');
  }
}
