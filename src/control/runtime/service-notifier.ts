/**
 * Tells systemd how it stands (sd_notify(3)): that the gateway is up, that it is alive, that it ends.
 *
 * ```
 *  READY=1       the API answers and the data plane has a plan
 *  WATCHDOG=1    twice in each interval of the watchdog, from then on: by the event loop, so that a stuck one is noticed
 *  STATUS=...    what `systemctl status` shows
 *  STOPPING=1    on SIGTERM, SIGINT and `down`
 * ```
 *
 * Without NOTIFY_SOCKET it does nothing. The data plane has a watchdog of its own: its heartbeat (`supervisor.ts`).
 */
import { unixSendDatagram } from '../../device/native.ts';

const US_PER_MS = 1000;
/** Of what systemd allows between two signs of life. */
const WATCHDOG_SHARE = 2;

export class ServiceNotifier {
  readonly #socket: string | undefined;
  readonly #watchdogMs: number;
  readonly #onFailure: (error: Error) => void;
  #watchdog: NodeJS.Timeout | undefined;
  #failed = false;

  /**
   * @param environment its NOTIFY_SOCKET and WATCHDOG_... are taken out: they are not for the processes that we start
   * @param onFailure called once if nobody takes what is said
   */
  constructor(environment: NodeJS.ProcessEnv, onFailure: (error: Error) => void) {
    const { NOTIFY_SOCKET: socket, WATCHDOG_USEC: interval, WATCHDOG_PID: pid } = environment;
    delete environment.NOTIFY_SOCKET;
    delete environment.WATCHDOG_USEC;
    delete environment.WATCHDOG_PID;
    this.#onFailure = onFailure;
    this.#socket = socket?.startsWith('/') || socket?.startsWith('@') ? socket : undefined;
    const isForUs = pid === undefined || Number(pid) === process.pid;
    const intervalMs = isForUs ? Number(interval ?? 0) / US_PER_MS : 0;
    this.#watchdogMs = intervalMs > 0 ? intervalMs / WATCHDOG_SHARE : 0;
  }

  /** The gateway is up. From now on systemd is told that it is alive. */
  ready(status: string): void {
    this.#send(`READY=1\nSTATUS=${oneLine(status)}`);
    if (this.#socket === undefined || this.#watchdogMs === 0) return;
    this.#watchdog = setInterval(() => this.#send('WATCHDOG=1'), this.#watchdogMs);
  }

  status(status: string): void {
    this.#send(`STATUS=${oneLine(status)}`);
  }

  /** The gateway begins to end; it is alive for as long as that takes. */
  stopping(status: string): void {
    this.#send(`STOPPING=1\nSTATUS=${oneLine(status)}`);
  }

  close(): void {
    clearInterval(this.#watchdog);
  }

  #send(message: string): void {
    if (this.#socket === undefined) return;
    try {
      unixSendDatagram(this.#socket, Buffer.from(message, 'utf8'));
    } catch (error) {
      if (!this.#failed) this.#onFailure(error as Error);
      this.#failed = true;
    }
  }
}

/** Lines are the messages' own. */
function oneLine(text: string): string {
  return text.replaceAll('\n', ' ');
}
