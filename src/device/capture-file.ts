/** Reads a capture of either format (`pcap.ts`, `pcapng-reader.ts`), told apart by its first bytes. */
import { type Capture, CaptureError } from './capture.ts';
import { isPcap, readPcap } from './pcap.ts';
import { isPcapng, readPcapng } from './pcapng-reader.ts';

/** Never throws: what is wrong with the file stands in {@link Capture.error}, what was right before it is there. */
export function readCapture(bytes: Uint8Array): Capture {
  if (isPcap(bytes)) return readPcap(bytes);
  if (isPcapng(bytes)) return readPcapng(bytes);
  const error = new CaptureError('not_a_capture', 0, 'neither pcap nor pcapng');
  return { format: 'unknown', interfaces: [], packets: [], error };
}
