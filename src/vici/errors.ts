/**
 * What can go wrong with VICI, as one class with stable codes.
 */

export type ViciErrorCode =
  /** Nobody listens on the socket, or it may not be used. */
  | 'unreachable'
  /** The connection ended before the answer. */
  | 'closed'
  /** No answer in time; the connection was dropped, since answers have no name and come in order. */
  | 'timeout'
  /** The caller's signal ended the wait; the connection was dropped for the same reason. */
  | 'aborted'
  /** The daemon does not know the command. */
  | 'unknown_command'
  /** The daemon does not know the event, or we were not registered for it. */
  | 'unknown_event'
  /** The command ran and failed: `success = no`; the message is the daemon's. */
  | 'refused'
  /** What the daemon sent is not VICI, or not what the command answers; the connection was dropped. */
  | 'protocol'
  /** What is to be sent does not fit: too long, no possible name, nested too deep. Nothing was sent. */
  | 'unsendable';

export class ViciError extends Error {
  override readonly name = 'ViciError';
  readonly code: ViciErrorCode;

  constructor(code: ViciErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
